"""Pure: numbers to and from raw little-endian elements, for every Open Inference Protocol datatype; without numpy."""

import array
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from service.errors import Unprocessable

Item = tuple[bytes | memoryview, ...]
"""One item of a batch: the raw little-endian elements of each input, or of each output, in the artifact's order."""

MAX_DIMENSIONS = 8
FLOATS = ("FP16", "BF16", "FP32", "FP64")

# array's type codes; what it has none for goes through struct or by hand
_CODES = {
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
    if code := _CODES.get(datatype):
        return array.array(code, bytes(data))
    if datatype == "BOOL":
        return [bool(each) for each in data]
    if datatype == "FP16":
        return struct.unpack(f"<{len(data) // 2}e", data)
    halves = array.array("H", bytes(data))
    return array.array("f", array.array("I", [each << 16 for each in halves]).tobytes())


def encode_values(data: Any, datatype: str, shape: tuple[int, ...], where: str) -> bytes:
    """JSON numbers, nested as `shape` says or flat, as raw elements.

    Raises:
        Unprocessable: another count or another kind of numbers.
    """
    if not isinstance(data, list):
        raise Unprocessable(f"{where}: wanted a list, got {kind_of(data)}")
    flat = flatten(data, where)
    if len(flat) != math.prod(shape):
        raise Unprocessable(f"{where}: {len(flat)} elements, shape {list(shape)} has {math.prod(shape)}")
    try:
        return _pack(flat, datatype)
    except (TypeError, ValueError, OverflowError, struct.error):
        raise Unprocessable(f"{where}: an element is not a {datatype}") from None


def _pack(flat: list[Any], datatype: str) -> bytes:
    if datatype == "BOOL":
        if not set(flat) <= {True, False}:
            raise ValueError
        return bytes(flat)
    if code := _CODES.get(datatype):
        return array.array(code, flat).tobytes()
    if datatype == "FP16":
        return struct.pack(f"<{len(flat)}e", *flat)
    singles = array.array("I", array.array("f", flat).tobytes())
    # Round to nearest, ties to even, as PyTorch does.
    return array.array("H", [(each + 0x7FFF + ((each >> 16) & 1)) >> 16 for each in singles]).tobytes()


def check_finite(datatype: str, data: bytes | memoryview, where: str) -> None:
    """Raise Unprocessable when a float is NaN or infinite."""
    if datatype in FLOATS and not is_finite(values(datatype, data)):
        raise Unprocessable(f"{where}: has NaN or Infinity")


def is_finite(numbers: Sequence[float]) -> bool:
    """Whether none is NaN or infinite: nearly always the sum tells at once."""
    return math.isfinite(sum(numbers)) or all(map(math.isfinite, numbers))


def flatten(data: list[Any], where: str) -> list[Any]:
    for _ in range(MAX_DIMENSIONS):
        if not data or not isinstance(data[0], list):
            return data
        if not all(isinstance(each, list) for each in data):
            break
        data = list(chain.from_iterable(data))
    raise Unprocessable(f"{where}: lists and elements are mixed, or nested deeper than {MAX_DIMENSIONS}")


def nest(flat: list[Any], shape: tuple[int, ...]) -> Any:
    """A flat list as lists in lists."""
    for size in reversed(shape[1:]):
        flat = [flat[start : start + size] for start in range(0, len(flat), size)]
    return flat if shape else flat[0]


def kind_of(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "nothing"}
    return names.get(type(value), "a number")
