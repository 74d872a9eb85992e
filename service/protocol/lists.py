"""Pure: JSON's lists, flat or nested, to and from raw elements; without numpy."""

import math
import struct
from itertools import accumulate, chain
from operator import mul
from typing import Any

from service.errors import Unprocessable
from service.protocol.fields import kind_of
from service.protocol.tensor import FLOATS, MAX_DIMENSIONS, Tensor, is_finite, pack, values


def encode_values(data: Any, datatype: str, shape: tuple[int, ...], where: str) -> bytes:
    """JSON numbers, nested as `shape` says or flat, as raw elements.

    Raises:
        Unprocessable: another count, another nesting or another kind of numbers.
    """
    flat = elements(data, shape, where)
    try:
        raw = pack(flat, datatype)
    except (TypeError, ValueError, OverflowError, struct.error):
        if list in map(type, flat):
            raise Unprocessable(f"{where}: lists and elements are mixed") from None
        raise Unprocessable(f"{where}: an element is not a {datatype}") from None
    # JSON has no Infinity, but Python reads 1e999 as one, and FP32 has no numbers over 3.4e38.
    if datatype in FLOATS and not is_finite(values(datatype, raw)):
        raise Unprocessable(
            f"{where}: an element is too large for {datatype}; Infinity needs a binary tensor (binary_data_size) "
            "of POST /v2/models/NAME/infer"
        )
    return raw


def elements(data: Any, shape: tuple[int, ...], where: str) -> list[Any]:
    """The elements of a list that is flat or nested as `shape` says, in row-major order.

    Neighbouring dimensions may be merged into one list, and dimensions of 1 may be left out: neither changes the order.

    Raises:
        Unprocessable: another count or nesting; both shapes are named.
    """
    if not isinstance(data, list):
        raise Unprocessable(f"{where}: wanted a list, got {kind_of(data)}")
    flat, nested = data, [len(data)]
    # type(), map() and set() run in C: nested [224, 224, 3] costs 5 ms, its JSON 15 ms.
    while flat and type(flat[0]) is list:
        if set(map(type, flat)) != {list}:
            raise Unprocessable(f"{where}: lists and elements are mixed")
        if len(nested) == MAX_DIMENSIONS:
            raise Unprocessable(f"{where}: lists are nested deeper than {MAX_DIMENSIONS}")
        sizes = set(map(len, flat))
        if len(sizes) > 1:
            ragged = ", ".join([*map(str, nested), f"{min(sizes)} to {max(sizes)}"])
            raise Unprocessable(f"{where}: the lists are ragged: nested [{ragged}], wanted {list(shape)}")
        nested.append(sizes.pop())
        flat = list(chain.from_iterable(flat))
    if len(nested) == 1 and len(flat) != math.prod(shape):
        raise Unprocessable(f"{where}: {len(flat)} elements, shape {list(shape)} has {math.prod(shape)}")
    if len(flat) != math.prod(shape) or not _same_order(nested, shape):
        raise Unprocessable(f"{where}: the lists are nested {nested}, wanted {list(shape)}")
    return flat


def nest(flat: list[Any], shape: tuple[int, ...]) -> Any:
    """A flat list as lists in lists."""
    for size in reversed(shape[1:]):
        flat = [flat[start : start + size] for start in range(0, len(flat), size)]
    return flat if shape else flat[0]


def to_json(tensor: Tensor) -> list[Any]:
    """The elements as JSON wants them, flat. Floats have the digits of their own precision.

    Raises:
        Unprocessable: NaN, Infinity, or BYTES that are not UTF-8, which only the binary extension can carry.
    """
    if isinstance(tensor.data, list):
        try:
            return [each.decode() for each in tensor.data]
        except UnicodeDecodeError:
            raise Unprocessable(f"output {tensor.name}: not UTF-8, ask for it with binary_data") from None
    check_finite(tensor)
    numbers = values(tensor.datatype, tensor.data)
    if tensor.datatype == "FP32":
        return [float(f"{each:.9g}") for each in numbers]
    return list(numbers)


def check_finite(output: Tensor) -> None:
    """Raise Unprocessable if an output has NaN or Infinity, which JSON cannot carry."""
    if output.datatype in FLOATS and not is_finite(values(output.datatype, output.data)):  # type: ignore[arg-type]
        raise Unprocessable(
            f"output {output.name} has NaN or Infinity, which JSON cannot carry: "
            "POST /v2/models/NAME/infer and ask for it with binary_data"
        )


def _same_order(nested: list[int], shape: tuple[int, ...]) -> bool:
    """Whether every list of `nested` begins where a list of `shape` begins; then both have the same order of elements."""
    return {*accumulate(nested, mul)} <= {1, *accumulate(shape, mul)}
