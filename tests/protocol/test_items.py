"""The tensors of a request as the items of a batch, and back."""

import struct

import pytest

from model.artifact import Artifact, CpuSpec, Defaults, ImageSpec, TensorSpec
from service.errors import Unprocessable
from service.protocol.items import items_of, outputs_of
from service.protocol.tensor import Tensor
from service.protocol.v2 import InferRequest, OutputRequest

ARTIFACT = Artifact(
    name="m", engine="onnx", precision="fp32",
    inputs=(TensorSpec("picture", "UINT8", (3,)), TensorSpec("scale", "FP32", ())),
    outputs=(TensorSpec("y", "INT16", (2,)), TensorSpec("z", "BOOL", ())), programs=(), defaults=Defaults(1, 1),
    cpu=CpuSpec("any"), image=ImageSpec(1, 1, 1),
)  # fmt: skip
PICTURE = Tensor("picture", "UINT8", (2, 3), b"abcdef")
SCALE = Tensor("scale", "FP32", (2,), struct.pack("<2f", 1, 2))
ENCODED = Tensor("picture", "BYTES", (2,), [b"one", b"two"])


def _decode(encoded: bytes) -> bytes:
    if encoded == b"bad":
        raise Unprocessable("not a picture")
    return encoded.upper()


def _items(*tensors: Tensor, outputs: tuple[str, ...] = (), most: int = 2) -> list[tuple[bytes, ...]]:
    request = InferRequest(list(tensors), [OutputRequest(name) for name in outputs])
    return [tuple(bytes(part) for part in item) for item in items_of(request, ARTIFACT, _decode, most)]


def test_one_item_for_each_place_of_the_batch() -> None:
    one, two = struct.pack("<f", 1), struct.pack("<f", 2)
    assert _items(PICTURE, SCALE) == [(b"abc", one), (b"def", two)]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_every_float_is_an_item(number: float) -> None:
    raw = struct.pack("<2f", 1, number)
    assert [scale for _, scale in _items(PICTURE, Tensor("scale", "FP32", (2,), raw))] == [raw[:4], raw[4:]]


def test_inputs_may_come_in_any_order() -> None:
    assert _items(SCALE, PICTURE) == _items(PICTURE, SCALE)


def test_the_body_is_not_copied() -> None:
    data = memoryview(b"abcdef")
    (first, _), _ = items_of(InferRequest([Tensor("picture", "UINT8", (2, 3), data), SCALE]), ARTIFACT, _decode, 2)
    assert isinstance(first, memoryview)
    assert first.obj is data.obj


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_encoded_pictures_are_decoded(shape: tuple[int, ...]) -> None:
    pictures = Tensor("picture", "BYTES", shape, [b"one", b"two"])
    assert [picture for picture, _ in _items(pictures, SCALE)] == [b"ONE", b"TWO"]


@pytest.mark.parametrize(
    ("tensors", "error"),
    [
        ((PICTURE,), "inputs are ['picture'], the model has ['picture', 'scale']"),
        ((PICTURE, SCALE, SCALE), "inputs are ['picture', 'scale', 'scale'], the model has ['picture', 'scale']"),
        ((PICTURE, Tensor("x", "FP32", (2,), b"")), "inputs are ['picture', 'x'], the model has ['picture', 'scale']"),
        ((PICTURE, Tensor("scale", "FP32", (1,), bytes(4))), "a batch of 2 items: input 'scale' has 1"),
        ((Tensor("picture", "UINT8", (), b"a"), SCALE), "input 'picture': shape [], wanted [-1, 3]"),
        ((Tensor("picture", "UINT8", (0, 3), b""), SCALE), "a batch of 0 items: wanted 1 to 2"),
        ((Tensor("picture", "UINT8", (9, 1), bytes(9)), SCALE), "input 'picture': shape [9, 1], wanted [-1, 3]"),
        ((Tensor("picture", "UINT8", (2, 4), bytes(8)), SCALE), "input 'picture': shape [2, 4], wanted [-1, 3]"),
        ((Tensor("picture", "INT8", (2, 3), bytes(6)), SCALE), "input 'picture': datatype INT8, wanted UINT8 or BYTES"),
        ((PICTURE, Tensor("scale", "FP64", (2,), bytes(16))), "input 'scale': datatype FP64, wanted FP32"),
        ((PICTURE, Tensor("scale", "BYTES", (2,), [b"", b""])), "input 'scale': datatype BYTES, wanted FP32"),
        ((Tensor("picture", "BYTES", (2, 2), [b""] * 4), SCALE), "input 'picture': shape [2, 2], pictures come as BYTES [N]"),
        ((Tensor("picture", "BYTES", (2,), [b"one", b"bad"]), SCALE), "input 'picture'[1]: not a picture"),
    ],
)  # fmt: skip
def test_what_the_model_does_not_take_is_refused(tensors: tuple[Tensor, ...], error: str) -> None:
    with pytest.raises(Unprocessable) as fault:
        _items(*tensors)
    assert str(fault.value) == error


def test_more_items_than_allowed_are_refused() -> None:
    with pytest.raises(Unprocessable, match=r"^a batch of 2 items: wanted 1 to 1$"):
        _items(PICTURE, SCALE, most=1)


def test_an_output_that_the_model_has_not_is_refused() -> None:
    assert _items(PICTURE, SCALE, outputs=("z", "y"))
    with pytest.raises(Unprocessable, match=r"^no output 'x', the model has \['y', 'z'\]$"):
        _items(PICTURE, SCALE, outputs=("y", "x"))


def test_a_model_without_pictures_takes_no_bytes() -> None:
    plain = Artifact(**{**vars(ARTIFACT), "image": None})
    with pytest.raises(Unprocessable, match=r"^input 'picture': datatype BYTES, wanted UINT8$"):
        items_of(InferRequest([ENCODED, SCALE]), plain, _decode, 2)


def test_results_are_joined_along_the_batch() -> None:
    assert outputs_of([(b"aabb", b"\0"), (b"ccdd", b"\1"), (b"eeff", b"\1")], ARTIFACT) == {
        "y": Tensor("y", "INT16", (3, 2), b"aabbccddeeff"), "z": Tensor("z", "BOOL", (3,), b"\0\1\1")
    }  # fmt: skip
