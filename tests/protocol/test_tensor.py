"""Numbers to raw elements and back, with numpy as the oracle."""

import math
import random
from typing import Any

import ml_dtypes
import numpy
import pytest

from model.artifact import ITEM_BYTES
from service.errors import Unprocessable
from service.protocol.lists import encode_values
from service.protocol.tensor import is_finite, values

NUMPY: dict[str, Any] = {
    "BOOL": numpy.bool_, "UINT8": numpy.uint8, "UINT16": numpy.uint16, "UINT32": numpy.uint32, "UINT64": numpy.uint64,
    "INT8": numpy.int8, "INT16": numpy.int16, "INT32": numpy.int32, "INT64": numpy.int64,
    "FP16": numpy.float16, "BF16": ml_dtypes.bfloat16, "FP32": numpy.float32, "FP64": numpy.float64,
}  # fmt: skip
INTEGERS = [name for name in NUMPY if "INT" in name]
FLOATS = {"FP16": 65504.0, "BF16": 3.3895313892515355e38, "FP32": 3.4028234663852886e38, "FP64": 1.7976931348623157e308}


def test_every_datatype_of_the_artifact_is_tested_here() -> None:
    assert NUMPY.keys() == ITEM_BYTES.keys()


def _limits(datatype: str) -> tuple[int, int]:
    info = numpy.iinfo(NUMPY[datatype])
    return int(info.min), int(info.max)


@pytest.mark.parametrize("datatype", INTEGERS)
def test_integers_there_and_back(datatype: str) -> None:
    low, high = _limits(datatype)
    source = random.Random(datatype)
    numbers = [low, high, 0, 1, *(source.randint(low, high) for _ in range(200))]
    raw = encode_values(numbers, datatype, (len(numbers),), "x")
    assert raw == numpy.array(numbers, NUMPY[datatype]).tobytes()
    assert list(values(datatype, raw)) == numbers
    assert list(values(datatype, memoryview(raw))) == numbers


@pytest.mark.parametrize("datatype", INTEGERS)
@pytest.mark.parametrize("bad", ["over", "under", 0.5, 1.0, "1", None, [], {}])
def test_what_is_no_integer_of_that_size_is_refused(datatype: str, bad: Any) -> None:
    low, high = _limits(datatype)
    element = {"over": high + 1, "under": low - 1}.get(bad, bad) if isinstance(bad, str) else bad
    error = "lists and elements are mixed" if bad == [] else f"an element is not a {datatype}"
    with pytest.raises(Unprocessable, match=f"^x: {error}$"):
        encode_values([1, element], datatype, (2,), "x")


def test_booleans_there_and_back() -> None:
    raw = encode_values([True, False, 1, 0], "BOOL", (4,), "x")
    assert raw == numpy.array([True, False, True, False]).tobytes()
    assert list(values("BOOL", raw)) == [True, False, True, False]


@pytest.mark.parametrize("bad", [2, -1, 0.5, "true", None])
def test_what_is_no_boolean_is_refused(bad: Any) -> None:
    with pytest.raises(Unprocessable, match=r"^x: an element is not a BOOL$"):
        encode_values([True, bad], "BOOL", (2,), "x")


def _samples(datatype: str) -> list[float]:
    """Ordinary, huge, tiny and denormal numbers, and those half-way between two neighbours."""
    source = random.Random(datatype)
    largest = FLOATS[datatype]
    ordinary = [source.uniform(-1000, 1000) for _ in range(500)]
    scaled = [source.uniform(-1, 1) * 10.0 ** source.randint(-45, 4) for _ in range(500)]
    ties = [1 + odd * 2.0**-8 for odd in range(1, 64, 2)] + [1 + odd * 2.0**-11 for odd in range(1, 64, 2)]
    return [0.0, -0.0, 1.0, largest, -largest, *ordinary, *scaled, *ties]


@pytest.mark.parametrize("datatype", FLOATS)
def test_floats_are_rounded_as_numpy_does(datatype: str) -> None:
    numbers = _samples(datatype)
    raw = encode_values(numbers, datatype, (len(numbers),), "x")
    # BF16 comes from FP32, as it does in PyTorch.
    single = numpy.array(numbers, numpy.float32 if datatype == "BF16" else numpy.float64)
    wanted = single.astype(NUMPY[datatype])
    assert raw == wanted.tobytes()
    assert list(values(datatype, raw)) == wanted.astype(numpy.float64).tolist()


@pytest.mark.parametrize("datatype", FLOATS)
def test_every_bit_pattern_of_special_numbers_is_read(datatype: str) -> None:
    raw = numpy.array([math.inf, -math.inf, math.nan, -0.0], NUMPY[datatype]).tobytes()
    up, down, nothing, zero = values(datatype, raw)
    assert (up, down) == (math.inf, -math.inf)
    assert math.isnan(nothing)
    assert math.copysign(1, zero) == -1


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_all_half_precision_numbers_there_and_back(datatype: str) -> None:
    every = numpy.arange(65536, dtype=numpy.uint16).view(NUMPY[datatype])
    # arm64 tells that some of these are signalling NaNs.
    with numpy.errstate(invalid="ignore"):
        finite = every[numpy.isfinite(every.astype(numpy.float32))]
    numbers = list(values(datatype, finite.tobytes()))
    assert numbers == finite.astype(numpy.float64).tolist()
    assert encode_values(numbers, datatype, (len(numbers),), "x") == finite.tobytes()


@pytest.mark.parametrize(("datatype", "over"), [("FP16", 65520.0), ("BF16", 3.4e38), ("FP32", 3.5e38)])
def test_a_number_over_the_largest_float_is_refused(datatype: str, over: float) -> None:
    for number in (over, -over, math.inf, -math.inf):
        with pytest.raises(Unprocessable):
            encode_values([number], datatype, (1,), "x")


@pytest.mark.parametrize("datatype", FLOATS)
def test_integers_are_floats_too_unless_they_are_too_large(datatype: str) -> None:
    assert list(values(datatype, encode_values([1, -2], datatype, (2,), "x"))) == [1.0, -2.0]
    with pytest.raises(Unprocessable):
        encode_values([10**400], datatype, (1,), "x")


def test_finite_numbers_whose_sum_is_not_are_finite() -> None:
    assert is_finite([1.7e308, 1.7e308])
    assert not is_finite([math.inf, -math.inf])
    assert is_finite([])
