"""What eager PyTorch answers: the oracle for everything that is served."""

from collections.abc import Sequence

import torch

from model.parity import raw
from service.protocol import image
from service.protocol.tensor import Item
from tests.support.models import LABELS, PICTURE, SIDE, Types, tiny_module

_tiny = tiny_module()
_types = Types().eval()


def probabilities(items: Sequence[bytes]) -> list[list[float]]:
    """The tiny model's answers to raw pictures UINT8 [16, 16, 3]."""
    pictures = torch.frombuffer(bytearray(b"".join(items)), dtype=torch.uint8).reshape(-1, SIDE, SIDE, 3)
    with torch.no_grad():
        return _tiny(pictures).tolist()  # type: ignore[no-any-return]


def picture_probabilities(encoded: bytes) -> list[float]:
    return probabilities([image.decode(encoded, PICTURE, max_pixels=10**8)])[0]


def labels(encoded: bytes, count: int = 5) -> list[tuple[str, int, float]]:
    """(label, index, probability) of the best classes of an encoded picture, best first."""
    scores = picture_probabilities(encoded)
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return [(LABELS[index], index, scores[index]) for index in order[:count]]


def types(inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The outputs of the model of many datatypes."""
    with torch.no_grad():
        return _types(*inputs)  # type: ignore[no-any-return]


def types_raw(inputs: Sequence[torch.Tensor]) -> Item:
    return tuple(raw(each) for each in types(inputs))
