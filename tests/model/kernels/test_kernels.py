"""The kernels, compiled for several CPUs, compute what operators.py says in PyTorch."""

import ctypes
import itertools
import math
import os
import random
import subprocess
from collections.abc import Iterator, Set
from contextlib import contextmanager
from ctypes import c_double, c_int32, c_int64, c_void_p
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import model.kernels
from model.kernels.operators import (
    PANEL,
    Geometry,
    attention,
    pack,
    pack_bias,
    pack_depthwise,
    packed_convolution,
    packed_depthwise,
    packed_expanded,
)
from service.runtime import cpu
from service.runtime.engine import aoti_abi

TORCH_CPU = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
LIBTORCH = aoti_abi.bind_torch(ctypes.CDLL(str(TORCH_CPU)))
SOURCES = sorted(Path(model.kernels.__file__).parent.glob("*.cpp"))
FLAGS: dict[str, Set[str]] = {
    "x86_64": {
        "x86-64": set(),
        "x86-64-v3": cpu.X86_64_V3,
        "x86-64-v4": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    },
    "aarch64": {"armv8-a": set(), "armv8.2-a": cpu.ARMV8_2_A},
}[os.uname().machine]
"""What the compiler may use, and /proc/cpuinfo's flags for it: vectors of 4, 8 and 16 numbers; on arm64 always of 4."""

# Kernel, stride, padding, dilation.
SHAPES = [
    ((1, 1), (1, 1), (0, 0), (1, 1)),
    ((1, 1), (2, 2), (0, 0), (1, 1)),
    ((3, 3), (1, 1), (1, 1), (1, 1)),
    ((3, 3), (2, 2), (0, 1), (1, 1)),
    ((3, 3), (1, 1), (2, 2), (2, 2)),
    ((5, 5), (2, 1), (2, 2), (1, 1)),
    ((1, 7), (1, 1), (0, 3), (1, 1)),
    ((2, 4), (3, 2), (3, 1), (1, 3)),
]
# In, out, groups.
CHANNELS = [
    (1, 1, 1),
    (3, 32, 1),
    (8, 24, 1),
    (40, 100, 1),
    (33, 17, 1),
    (12, 8, 4),
    (16, 36, 2),
    (48, 48, 48),
    (8, 8, 8),
]
DEPTHWISE = [16, 24, 72, 130]
PICTURES = [(1, 1, 1), (1, 7, 7), (2, 13, 9), (3, 4, 21)]


@pytest.fixture(scope="module", params=FLAGS)
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if missing := FLAGS[request.param] - cpu.flags():
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")
    built = tmp_path_factory.mktemp("kernels") / "kernels.so"
    warnings = ("-Wall", "-Wextra", "-Werror")
    flags = ("-std=c++17", "-O2", "-fopenmp", "-shared", "-fPIC", f"-march={request.param}", *warnings)
    # Libtorch keeps the tensors here.
    headers = Path(torch.__file__).parent / "include"
    command = ["g++", *flags, "-isystem", str(headers), *map(str, SOURCES), str(TORCH_CPU), "-o", str(built)]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(built))


Tensors = list[torch.Tensor | None]
Bounds = tuple[float, float]
ANY = (-math.inf, math.inf)


def _compute(kernels: ctypes.CDLL, name: str, tensors: Tensors, geometry: Geometry, bounds: Bounds) -> torch.Tensor:
    """The result of one of the kernels; `tensors` are picture, weight, bias and other."""
    with _handles(*tensors) as (picture, *layer):
        made = _call(kernels, name, picture, _layer(layer, geometry, bounds))
    assert tensors[0] is not None
    return _taken(made, (len(tensors[0]), *geometry.out_size, geometry.out_channels))


@contextmanager
def _handles(*tensors: torch.Tensor | None) -> Iterator[list[c_void_p | None]]:
    handles = [None if each is None else _handle(each) for each in tensors]
    yield handles
    for each in handles:
        if each is not None:
            LIBTORCH.aoti_torch_delete_tensor_object(each)


def _layer(handles: list[c_void_p | None], geometry: Geometry, bounds: Bounds) -> list[Any]:
    weight, bias, other = handles
    added = None if other is None else ctypes.byref(other)
    return [weight, bias, added, *_numbers(geometry), *map(c_double, bounds)]


def _numbers(geometry: Geometry) -> tuple[Any, c_int64]:
    return (c_int64 * 12)(*geometry.numbers), c_int64(12)


def _call(kernels: ctypes.CDLL, name: str, picture: c_void_p | None, arguments: list[Any]) -> c_void_p:
    made = c_void_p()
    assert getattr(kernels, f"aoti_torch_cpu_packed_{name}")(picture, *arguments, ctypes.byref(made)) == 0
    return made


def _taken(handle: c_void_p, shape: tuple[int, ...]) -> torch.Tensor:
    """A copy of the tensor, which is deleted."""
    address = c_void_p()
    assert LIBTORCH.aoti_torch_get_data_ptr(handle, ctypes.byref(address)) == 0
    raw = ctypes.string_at(address.value or 0, 4 * math.prod(shape))
    LIBTORCH.aoti_torch_delete_tensor_object(handle)
    return torch.frombuffer(bytearray(raw), dtype=torch.float32).view(shape)


def _handle(tensor: torch.Tensor) -> c_void_p:
    handle, numbers = c_void_p(), c_int64 * tensor.dim()
    dtype: int = LIBTORCH.aoti_torch_dtype_float32()
    failed = LIBTORCH.aoti_torch_create_tensor_from_blob(
        tensor.data_ptr(), tensor.dim(), numbers(*tensor.shape), numbers(*tensor.stride()), 0, c_int32(dtype), 0, 0,
        ctypes.byref(handle),
    )  # fmt: skip
    assert not failed
    return handle


def _geometry(shape: Any, channels: tuple[int, int, int], picture: tuple[int, int, int]) -> Geometry | None:
    kernel, stride, padding, dilation = shape
    size = [
        (picture[1 + axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis in (0, 1)
    ]
    if min(size) < 1:
        return None
    return Geometry(kernel, stride, padding, dilation, channels[2], (size[0], size[1]), channels[1])


def _with(geometry: Geometry, told: str) -> str:
    return f"{geometry}: {told}"


def _cases(seed: int, channels: list[tuple[int, int, int]]) -> list[tuple[Geometry, int, tuple[int, int, int]]]:
    found = []
    for shape, each, picture in itertools.product(SHAPES, channels, PICTURES):
        if geometry := _geometry(shape, each, picture):
            found.append((geometry, each[0], picture))
    random.Random(seed).shuffle(found)
    return found


@pytest.mark.parametrize("threads", [1, 2])
def test_convolutions(kernels: ctypes.CDLL, threads: int) -> None:
    torch.manual_seed(threads)
    kernels.omp_set_num_threads(threads)
    for number, (geometry, depth, (count, height, width)) in enumerate(_cases(threads, CHANNELS)):
        picture = torch.randn(count, height, width, depth)
        weight = torch.randn(geometry.out_channels, depth // geometry.groups, *geometry.kernel)
        bias = torch.randn(geometry.out_channels)
        other = torch.randn(count, *geometry.out_size, geometry.out_channels) if number % 2 else None
        bounds = [ANY, (0.0, math.inf), (-0.5, 1.5)][number % 3]
        packed = (pack(weight, geometry.groups), pack_bias(bias, geometry.groups))
        wanted = packed_convolution(picture, *packed, other, geometry.numbers, *bounds)
        found = _compute(kernels, "convolution", [picture, *packed, other], geometry, bounds)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4, msg=partial(_with, geometry))


def test_depthwise_convolutions(kernels: ctypes.CDLL) -> None:
    torch.manual_seed(0)
    for number, (geometry, channels, (count, height, width)) in enumerate(
        _cases(0, [(each, each, each) for each in DEPTHWISE])
    ):
        assert channels >= PANEL
        picture = torch.randn(count, height, width, channels)
        packed, bias = pack_depthwise(torch.randn(channels, 1, *geometry.kernel)), torch.randn(channels)
        other = torch.randn(count, *geometry.out_size, channels) if number % 2 else None
        bounds = [ANY, (0.0, 6.0)][number % 3 % 2]
        wanted = packed_depthwise(picture, packed, bias, other, geometry.numbers, *bounds)
        found = _compute(kernels, "depthwise", [picture, packed, bias, other], geometry, bounds)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4, msg=partial(_with, geometry))


@pytest.mark.parametrize("part", ["picture", "other"])
def test_a_part_of_a_wider_tensor_is_refused(kernels: ctypes.CDLL, part: str) -> None:
    """Its pixels are farther apart than the kernels read them: Inductor has to copy it before."""
    geometry = Geometry((1, 1), (1, 1), (0, 0), (1, 1), 1, (5, 5), 4)
    tensors = {each: torch.randn(1, 5, 5, 4) for each in ("picture", "other")}
    tensors[part] = torch.randn(1, 5, 5, 8)[..., :4]
    packed = (pack(torch.randn(4, 4, 1, 1), 1), pack_bias(torch.randn(4), 1))
    with _handles(tensors["picture"], *packed, tensors["other"]) as (picture, *layer):
        arguments = _layer(layer, geometry, ANY)
        assert kernels.aoti_torch_cpu_packed_convolution(picture, *arguments, ctypes.byref(c_void_p())) != 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_stays_one_as_in_pytorch(kernels: ctypes.CDLL, value: float) -> None:
    geometry = Geometry((3, 3), (1, 1), (1, 1), (1, 1), 1, (5, 5), 20)
    picture = torch.randn(1, 5, 5, 4)
    picture[0, 2, 2, 1] = value
    packed = (pack(torch.randn(20, 4, 3, 3), 1), pack_bias(torch.randn(20), 1))
    wanted = packed_convolution(picture, *packed, None, geometry.numbers, 0.0, 6.0)
    found = _compute(kernels, "convolution", [picture, *packed, None], geometry, (0.0, 6.0))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize("shape", SHAPES[2:], ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_depthwise_convolution_of_rows_that_are_computed_as_they_are_needed(
    kernels: ctypes.CDLL, shape: Any, threads: int
) -> None:
    torch.manual_seed(threads)
    kernels.omp_set_num_threads(threads)
    count, height, width, depth, channels = 2, 12, 9, 5, 40
    expand = _geometry(SHAPES[0], (depth, channels, 1), (count, height, width))
    geometry = _geometry(shape, (channels, channels, channels), (count, height, width))
    assert expand
    assert geometry
    picture, other = torch.randn(count, height, width, depth), torch.randn(count, *geometry.out_size, channels)
    first = (pack(torch.randn(channels, depth, 1, 1), 1), pack_bias(torch.randn(channels), 1))
    second = (pack_depthwise(torch.randn(channels, 1, *geometry.kernel)), torch.randn(channels))
    wanted = packed_expanded(
        picture, *first, expand.numbers, 0.0, 6.0, *second, other, geometry.numbers, -1.0, math.inf
    )
    with _handles(picture, *first, *second, other) as (handle, weight, bias, *layer):
        before = [weight, bias, *_numbers(expand), c_double(0), c_double(6)]
        made = _call(kernels, "expanded", handle, [*before, *_layer(layer, geometry, (-1.0, math.inf))])
    torch.testing.assert_close(_taken(made, wanted.shape), wanted, atol=1e-4, rtol=1e-4)


# Items, heads, queries, keys, depth, width.
HEADS = [
    (1, 1, 1, 1, 1, 1),
    (2, 3, 50, 50, 64, 64),
    (1, 12, 197, 197, 64, 64),
    (1, 2, 7, 33, 20, 17),
    (3, 1, 100, 16, 5, 40),
]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("scale", [0.125, 3.0])
def test_attention(kernels: ctypes.CDLL, threads: int, heads: tuple[int, ...], scale: float) -> None:
    torch.manual_seed(threads)
    kernels.omp_set_num_threads(threads)
    items, count, queries, keys, depth, width = heads
    shapes = ((queries, depth), (keys, depth), (keys, width))
    tensors = [torch.randn(items, rows, count, each) for rows, each in shapes]
    torch.testing.assert_close(_attended(kernels, tensors, scale), attention(*tensors, scale), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("score", [1e4, -1e4, math.nan, math.inf])
def test_attention_to_a_key_with_an_extreme_score(kernels: ctypes.CDLL, score: float) -> None:
    """One key takes all, another one nothing, and what is no number is told by no number, in its row alone."""
    query, key = torch.ones(1, 9, 1, 1), torch.randn(1, 20, 1, 1)
    key[0, 5] = score
    query[0, 3] = 0.0
    tensors = [query, key, torch.randn(1, 20, 1, 8)]
    found = _attended(kernels, tensors, 1.0)
    torch.testing.assert_close(found, attention(*tensors, 1.0), atol=1e-5, rtol=1e-5, equal_nan=True)


def _attended(kernels: ctypes.CDLL, tensors: list[torch.Tensor], scale: float) -> torch.Tensor:
    made = c_void_p()
    with _handles(*tensors) as handles:
        assert kernels.aoti_torch_cpu_attention(*handles, c_double(scale), ctypes.byref(made)) == 0
    return _taken(made, (*tensors[0].shape[:-1], tensors[2].shape[-1]))


@pytest.mark.parametrize("part", range(3))
def test_attention_refuses_a_part_of_a_wider_tensor(kernels: ctypes.CDLL, part: int) -> None:
    tensors = [torch.randn(1, 2, 5, 8) for _ in range(3)]
    tensors[part] = torch.randn(1, 2, 5, 16)[..., :8]
    with _handles(*tensors) as handles:
        assert kernels.aoti_torch_cpu_attention(*handles, c_double(1), ctypes.byref(c_void_p())) != 0
