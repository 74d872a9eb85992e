"""`python -m tests.model.standalone.asking LIBRARY`: what a library of torch's C shim says about tensors, as JSON."""

import ctypes
import json
import sys
from ctypes import POINTER, byref, c_bool, c_int32, c_int64, c_void_p
from typing import Any

DTYPES = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex32",
    "complex64",
    "complex128",
    "float8_e5m2",
    "float8_e4m3fn",
    "float8_e5m2fnuz",
    "float8_e4m3fnuz",
]
NUMBERS = [
    "device_type_cpu",
    "device_type_cuda",
    "layout_strided",
    "layout__mkldnn",
    "memory_format_contiguous_format",
    "memory_format_channels_last",
    "memory_format_channels_last_3d",
    "memory_format_preserve_format",
]
SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "contiguous": ((2, 3, 4), (12, 4, 1)),
    "channels last": ((2, 3, 4, 5), (60, 1, 15, 3)),
    "turned": ((3, 2), (1, 3)),
    "with gaps": ((3, 2), (8, 2)),
    "expanded": ((4, 3), (0, 1)),
    "expanded within": ((2, 3, 4), (1, 0, 8)),
    "alike": ((2, 3, 4), (1, 1, 6)),
    "with gaps around single ones": ((3, 1, 2, 1), (9, 1, 2, 40)),
    "single ones": ((1, 3, 1), (7, 1, 9)),
    "no elements": ((0, 3), (3, 1)),
    "a scalar": ((), ()),
}
BLOB = (ctypes.c_float * 256)(*range(256))


class Shim:
    """The functions of one library; every tensor that is made is deleted at the end."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.made: list[int | None] = []

    def number(self, name: str) -> int:
        return int(getattr(self.library, f"aoti_torch_{name}")())

    def tensor(self, name: str, *arguments: Any) -> int | None:
        handle = c_void_p()
        assert getattr(self.library, f"aoti_torch_{name}")(*arguments, byref(handle)) == 0, name
        self.made.append(handle.value)
        return handle.value

    def fact(self, tensor: int | None, name: str, kind: Any = c_int64) -> Any:
        value = kind()
        assert getattr(self.library, f"aoti_torch_{name}")(c_void_p(tensor), byref(value)) == 0, name
        return value if isinstance(value, POINTER(c_int64)) else value.value

    def facts(self, tensor: int | None) -> dict[str, Any]:
        rank = self.fact(tensor, "get_dim")
        counts = {name: self.fact(tensor, name) for name in ("get_numel", "get_storage_size", "get_storage_offset")}
        kinds = {
            name: self.fact(tensor, name, c_int32)
            for name in ("get_dtype", "get_device_type", "get_device_index", "get_layout")
        }
        shape = {name: self.fact(tensor, name, POINTER(c_int64))[:rank] for name in ("get_sizes", "get_strides")}
        flags = {name: self.fact(tensor, name, c_bool) for name in ("is_contiguous", "is_defined")}
        return {**counts, **kinds, **shape, **flags, "values": self.values(tensor, shape)}

    def values(self, tensor: int | None, shape: dict[str, list[int]]) -> list[float]:
        address = self.fact(tensor, "get_data_ptr", c_void_p)
        offsets = [0]
        for size, stride in zip(shape["get_sizes"], shape["get_strides"], strict=True):
            offsets = [start + index * stride for start in offsets for index in range(size)]
        return [ctypes.c_float.from_address(address + 4 * offset).value for offset in offsets]


def _array(numbers: tuple[int, ...]) -> Any:
    return (c_int64 * len(numbers))(*numbers)


def _told(shim: Shim) -> dict[str, Any]:
    float32, cpu = shim.number("dtype_float32"), shim.number("device_type_cpu")
    shim.library.aoti_torch_dtype_element_size.restype = ctypes.c_size_t
    shim.library.aoti_torch_abi_version.restype = ctypes.c_uint64
    told: dict[str, Any] = {name: shim.number(name) for name in (*NUMBERS, "abi_version")}
    for name in DTYPES:
        told[name] = number = shim.number(f"dtype_{name}")
        told[f"size of {name}"] = _size(shim, number)
    for name, (sizes, strides) in SHAPES.items():
        shape = (c_int64(len(sizes)), _array(sizes), _array(strides))
        blob = shim.tensor("create_tensor_from_blob", BLOB, *shape, c_int64(0 if 0 in sizes else 2), float32, cpu, 0)
        told[name] = shim.facts(blob)
        told[f"{name}, cloned"] = shim.facts(shim.tensor("clone", c_void_p(blob)))
        told[f"{name}, cloned as it is"] = _without_gaps(
            shim.facts(shim.tensor("clone_preserve_strides", c_void_p(blob)))
        )
        told[f"{name}, again"] = shim.facts(shim.tensor("new_tensor_handle", c_void_p(blob)))
        empty = shim.tensor("empty_strided", *shape, float32, cpu, 0)
        assert shim.library.aoti_torch_copy_(c_void_p(empty), c_void_p(blob), 0) == 0 or 0 in strides
        told[f"{name}, copied"] = shim.facts(empty) if 0 not in strides else None
    told |= _views(shim, float32, cpu)
    for each in shim.made:
        assert shim.library.aoti_torch_delete_tensor_object(c_void_p(each)) == 0
    return told


def _size(shim: Shim, number: int) -> int:
    return int(shim.library.aoti_torch_dtype_element_size(number))


def _without_gaps(facts: dict[str, Any]) -> dict[str, Any]:
    """libtorch keeps the bytes before the first element, too."""
    return {name: value for name, value in facts.items() if name not in ("get_storage_size", "get_storage_offset")}


def _views(shim: Shim, float32: int, cpu: int) -> dict[str, Any]:
    base = shim.tensor(
        "create_tensor_from_blob", BLOB, c_int64(1), _array((200,)), _array((1,)), c_int64(3), float32, cpu, 0
    )
    first = shim.tensor("_reinterpret_tensor", c_void_p(base), c_int64(2), _array((3, 4)), _array((4, 1)), c_int64(5))
    second = shim.tensor("_reinterpret_tensor", c_void_p(first), c_int64(1), _array((3,)), _array((4,)), c_int64(2))
    third = shim.tensor("as_strided", c_void_p(first), _array((2, 2)), _array((1, 1)))
    pool = shim.tensor("empty_strided", c_int64(1), _array((64,)), _array((1,)), float32, cpu, 0)
    assert shim.library.aoti_torch_zero_(c_void_p(pool)) == 0
    part = shim.tensor(
        "_alloc_from_pool", c_void_p(pool), c_int64(32), float32, c_int64(2), _array((2, 3)), _array((3, 1))
    )
    names = {"view": first, "view of a view": second, "strided": third, "pool": pool, "part": part}
    return {name: shim.facts(each) for name, each in names.items()}


if __name__ == "__main__":
    print(json.dumps(_told(Shim(ctypes.CDLL(sys.argv[1])))))
