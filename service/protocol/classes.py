"""Pure: the best classes of an output's scores; Triton's extension "classification".

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

import heapq
import math
from collections.abc import Sequence

from service.errors import Unprocessable
from service.protocol.tensor import Tensor, is_finite, values


def classify(scores: Tensor, count: int, labels: Sequence[str]) -> Tensor:
    """The `count` best classes of each item, as BYTES `score:index:label`.

    Raises:
        Unprocessable: a score is NaN.
    """
    rows = [
        f"{score:f}:{index}:{label}".encode() if label else f"{score:f}:{index}".encode()
        for item in split(scores)
        for index, label, score in top(item, count, labels, scores.name)
    ]
    return Tensor(scores.name, "BYTES", (scores.shape[0], len(rows) // scores.shape[0]), rows)


def top(scores: Sequence[float], count: int, labels: Sequence[str], name: str) -> list[tuple[int, str, float]]:
    """The best (index, label, score), best first; the label is "" where the model has none.

    Raises:
        Unprocessable: a score is NaN. NaN is neither more nor less than another score, so any order would be wrong.
    """
    if not is_finite(scores) and any(map(math.isnan, scores)):
        raise Unprocessable(f"output {name} has NaN, which cannot be ranked: ask for the tensor with binary_data")
    order = heapq.nlargest(count, range(len(scores)), key=scores.__getitem__)
    return [(index, labels[index] if index < len(labels) else "", scores[index]) for index in order]


def split(tensor: Tensor) -> list[Sequence[float]]:
    """The numbers of each item of a batch."""
    numbers = values(tensor.datatype, tensor.data)  # type: ignore[arg-type]
    size = len(numbers) // tensor.shape[0]
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]
