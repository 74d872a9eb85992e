"""JSON's lists as elements, with numpy as the oracle."""

import math
from itertools import product
from typing import Any

import numpy
import pytest

from service.errors import Unprocessable
from service.protocol.fields import kind_of
from service.protocol.lists import elements, encode_values, nest


@pytest.mark.parametrize(
    ("data", "shape"),
    [([1, 2, 3, 4, 5, 6], (2, 3)), ([[1, 2, 3], [4, 5, 6]], (2, 3)), ([[[1], [2]], [[3], [4]], [[5], [6]]], (3, 2, 1)),
     ([], (0, 3)), ([[], []], (2, 0)), ([5], ()), ([[5]], ()), ([[1, 2, 3, 4, 5, 6]], (2, 3)),
     ([[1, 2], [3, 4], [5, 6]], (1, 3, 2)), ([[1], [2]], (2,)), ([[1, 2, 3, 4], [5, 6, 7, 8]], (2, 2, 2)),
     ([[1, 2], [3, 4], [5, 6], [7, 8]], (2, 2, 2))],
)  # fmt: skip
def test_nested_and_flat_lists_are_the_same(data: Any, shape: tuple[int, ...]) -> None:
    flat = numpy.array(data, numpy.int32).ravel()
    assert encode_values(data, "INT32", shape, "x") == flat.tobytes()


@pytest.mark.parametrize(
    ("data", "shape", "error"),
    [
        ("12", (2,), "x: wanted a list, got a string"),
        (None, (2,), "x: wanted a list, got nothing"),
        ({"a": 1}, (2,), "x: wanted a list, got an object"),
        (7, (2,), "x: wanted a list, got a number"),
        (True, (2,), "x: wanted a list, got a boolean"),
        ([1, 2, 3], (2,), "x: 3 elements, shape [2] has 2"),
        ([], (2,), "x: 0 elements, shape [2] has 2"),
        ([[1], 2], (2,), "x: lists and elements are mixed"),
        ([1, [2]], (2,), "x: lists and elements are mixed"),
        ([[1, [2]]], (2,), "x: lists and elements are mixed"),
        ([[[[[[[[[1]]]]]]]]], (1,), "x: lists are nested deeper than 8"),
        ([[1, 2], [3]], (3,), "x: the lists are ragged: nested [2, 1 to 2], wanted [3]"),
        ([[1], []], (1,), "x: the lists are ragged: nested [2, 0 to 1], wanted [1]"),
        ([[[1, 2]], [[3, 4], [5, 6]]], (1, 3, 2), "x: the lists are ragged: nested [2, 1 to 2], wanted [1, 3, 2]"),
        ([[[1], [2, 3]]], (3,), "x: the lists are ragged: nested [1, 2, 1 to 2], wanted [3]"),
        ([[]], (2,), "x: the lists are nested [1, 0], wanted [2]"),
        ([[], []], (0, 3), "x: the lists are nested [2, 0], wanted [0, 3]"),
        ([[1, 2], [3, 4], [5, 6]], (2, 3), "x: the lists are nested [3, 2], wanted [2, 3]"),
        ([[1, 2, 3], [4, 5, 6]], (6,), "x: the lists are nested [2, 3], wanted [6]"),
        ([[1, 2, 3]], (2, 3), "x: the lists are nested [1, 3], wanted [2, 3]"),
    ],
)  # fmt: skip
def test_lists_of_another_form_are_refused(data: Any, shape: tuple[int, ...], error: str) -> None:
    with pytest.raises(Unprocessable) as fault:
        encode_values(data, "INT32", shape, "x")
    assert str(fault.value) == error


def test_planes_of_colour_are_not_pixels() -> None:
    planes = numpy.zeros((3, 224, 224), numpy.uint8).tolist()
    error = r"^x: the lists are nested \[1, 3, 224, 224\], wanted \[1, 224, 224, 3\]$"
    with pytest.raises(Unprocessable, match=error):
        encode_values([planes], "UINT8", (1, 224, 224, 3), "x")


def _merged(shape: tuple[int, ...]) -> set[tuple[int, ...]]:
    """Every shape that comes of `shape` when neighbours are multiplied, without the ones."""
    found = set()
    for cuts in product([False, True], repeat=max(0, len(shape) - 1)):
        sizes = list(shape[:1])
        for size, cut in zip(shape[1:], cuts, strict=True):
            sizes[-1:] = [sizes[-1], size] if cut else [sizes[-1] * size]
        found.add(tuple(size for size in sizes if size != 1))
    return found


SHAPES = [shape for count in (1, 2, 3, 4) for shape in product([1, 2, 3], repeat=count)]


@pytest.mark.parametrize("shape", [(2, 3), (3, 2, 2), (1, 2, 3), (2, 1, 3, 2), (3, 3)])
def test_only_merged_neighbours_and_ones_are_another_nesting(shape: tuple[int, ...]) -> None:
    for given in [*SHAPES, (6,), (4, 3), (2, 6), (6, 2), (12,), (9,)]:
        data = nest(list(range(math.prod(given))), given)
        if math.prod(given) == math.prod(shape) and tuple(each for each in given if each != 1) in _merged(shape):
            assert elements(data, shape, "x") == list(range(math.prod(shape)))
        else:
            with pytest.raises(Unprocessable):
                elements(data, shape, "x")


@pytest.mark.parametrize("shape", [(), (1,), (6,), (2, 3), (1, 2, 3), (3, 1, 2), (6, 1, 1)])
def test_nest_is_the_other_way_round(shape: tuple[int, ...]) -> None:
    flat = list(range(math.prod(shape)))
    nested = nest(flat, shape)
    assert nested == numpy.array(flat).reshape(shape).tolist()
    if shape:
        assert elements(nested, shape, "x") == flat


def test_kinds_are_named_as_json_does() -> None:
    kinds = {"an object": {}, "a list": [], "a string": "", "a boolean": True, "nothing": None, "a number": 1.5}
    assert {name: kind_of(value) for name, value in kinds.items()} == {name: name for name in kinds}
    assert kind_of(1) == "a number"
