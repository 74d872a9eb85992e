"""Pure: tensors as raw little-endian elements or as numbers, for every Open Inference Protocol datatype."""

import array
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Item = tuple[bytes | memoryview, ...]
"""One item of a batch: the raw little-endian elements of each input, or of each output, in the artifact's order."""

MAX_DIMENSIONS = 8
MAX_SIZE = 2**63 - 1
FLOATS = ("FP16", "BF16", "FP32", "FP64")

# array's type codes; datatypes without one go through struct or by hand
CODES = {
    "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
    "FP32": "f", "FP64": "d",
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """`data` is little-endian and contiguous; for BYTES, the list of its elements."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview | list[bytes]


def values(datatype: str, data: bytes | memoryview) -> Sequence[Any]:
    """The elements as Python numbers."""
    if code := CODES.get(datatype):
        return array.array(code, bytes(data))
    if datatype == "BOOL":
        return [bool(each) for each in data]
    if datatype == "FP16":
        return struct.unpack(f"<{len(data) // 2}e", data)
    halves = array.array("H", bytes(data))
    return array.array("f", array.array("I", [each << 16 for each in halves]).tobytes())


def pack(numbers: list[Any], datatype: str) -> bytes:
    """Python numbers as raw elements.

    Raises:
        TypeError, ValueError, OverflowError, struct.error: one is not of that datatype.
    """
    if datatype == "BOOL":
        if not set(numbers) <= {True, False}:
            raise ValueError
        return bytes(numbers)
    if code := CODES.get(datatype):
        return array.array(code, numbers).tobytes()
    if datatype == "FP16":
        return struct.pack(f"<{len(numbers)}e", *numbers)
    singles = array.array("I", array.array("f", numbers).tobytes())
    # Round to nearest, ties to even, as PyTorch does.
    return array.array("H", [(each + 0x7FFF + ((each >> 16) & 1)) >> 16 for each in singles]).tobytes()


def is_finite(numbers: Sequence[float]) -> bool:
    """Whether no element is NaN or infinite; the sum nearly always tells at once."""
    return math.isfinite(sum(numbers)) or all(map(math.isfinite, numbers))
