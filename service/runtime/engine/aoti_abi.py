"""The C ABI of AOTInductor and of libtorch, as far as a compiled model needs it: declarations only.

The prototypes stand in torch 2.13's include/torch/csrc/inductor/aoti_runtime/interface.h and aoti_torch/c/shim.h.
Each is declared, because ctypes takes an undeclared argument for a C int, and would cut a pointer to 32 bits.
"""

import ctypes
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

# For libtorch: a model calls a few hundred of its 43,000 functions, and binding the rest takes 90 ms.
RTLD_LAZY = 1
# For a model: a symbol that libtorch lacks is an error when it is loaded, not the end of the process in a run.
RTLD_NOW = 2
# For a model with a runtime library of its own: its functions are those, even where libtorch is in the same process.
RTLD_DEEPBIND = 8
# For libtorch: the model is not linked with it, and finds its symbols among those that are global.
RTLD_GLOBAL = 0x100

# The files of an artifact that runs without libtorch, which its programs name as needed.
STANDALONE = "libkindling.so"
OPENMP = "libgomp.so.1"
# Counts changes of what model/standalone offers to programs.
STANDALONE_ABI = 1

c_handle_p = POINTER(c_void_p)
c_int64_p = POINTER(c_int64)

DTYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "BF16": "bfloat16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
"""Open Inference Protocol datatype -> the name in `int32_t aoti_torch_dtype_NAME()`."""


def dlopen(path: Path, mode: int) -> ctypes.CDLL:
    """The library, opened without holding the GIL: `ctypes.CDLL(path)` holds it, and libtorch_cpu takes 200 ms.

    Raises:
        OSError: with the loader's own words.
    """
    # Functions of a CDLL release the GIL while they run, and dlopen itself is one.
    libc = ctypes.CDLL(None)
    # void *dlopen(const char *filename, int flags); char *dlerror(void)
    libc.dlopen.argtypes, libc.dlopen.restype = [c_char_p, ctypes.c_int], c_void_p
    libc.dlerror.argtypes, libc.dlerror.restype = [], c_char_p
    handle = libc.dlopen(bytes(path), mode)
    if not handle:
        raise OSError((libc.dlerror() or b"unknown error").decode(errors="replace"))
    return ctypes.CDLL(str(path), handle=handle)


def bind_built_for(library: ctypes.CDLL) -> Any:
    """`kindling_built_for` of a runtime library, which gives what `built_for` gave when it was built.

    Raises:
        AttributeError: the library has no such function.
    """
    # const char* kindling_built_for();  borrowed
    library.kindling_built_for.argtypes, library.kindling_built_for.restype = [], c_char_p
    return library.kindling_built_for


def built_for(torch: str) -> str:
    """What a runtime library says of itself: its own version, and that of the torch which compiled its programs."""
    return f"interface {STANDALONE_ABI}, torch {torch}"


def bind_torch(opened: ctypes.CDLL) -> Any:
    """libtorch_cpu, or the runtime library in its place, with the signatures of the functions used here.

    Every one returns an AOTITorchError, 0 for success.

    The functions take microseconds and keep the GIL. A runner that released it would have to wait for it behind the
    requests' threads.
    """
    library = ctypes.PyDLL(opened._name, handle=opened._handle)  # noqa: SLF001 - the same library, called otherwise
    # AOTITorchError aoti_torch_create_tensor_from_blob(void* data, int64_t ndim, const int64_t* sizes,
    #     const int64_t* strides, int64_t storage_offset, int32_t dtype, int32_t device_type, int32_t device_index,
    #     AtenTensorHandle* ret_new_tensor);  the data is borrowed, the handle is a new reference
    library.aoti_torch_create_tensor_from_blob.argtypes = [
        c_void_p, c_int64, c_int64_p, c_int64_p, c_int64, c_int32, c_int32, c_int32, c_handle_p,
    ]  # fmt: skip
    # AOTITorchError aoti_torch_get_data_ptr(AtenTensorHandle tensor, void** ret_data_ptr);  borrowed
    library.aoti_torch_get_data_ptr.argtypes = [c_void_p, c_handle_p]
    # AOTITorchError aoti_torch_get_numel(AtenTensorHandle tensor, int64_t* ret_numel)
    library.aoti_torch_get_numel.argtypes = [c_void_p, c_int64_p]
    # AOTITorchError aoti_torch_get_dtype(AtenTensorHandle tensor, int32_t* ret_dtype)
    library.aoti_torch_get_dtype.argtypes = [c_void_p, POINTER(c_int32)]
    # AOTITorchError aoti_torch_is_contiguous(AtenTensorHandle tensor, bool* ret)
    library.aoti_torch_is_contiguous.argtypes = [c_void_p, POINTER(ctypes.c_bool)]
    # AOTITorchError aoti_torch_delete_tensor_object(AtenTensorHandle tensor)
    library.aoti_torch_delete_tensor_object.argtypes = [c_void_p]
    return library


def bind_model(library: ctypes.CDLL) -> Any:
    """A compiled model with the signatures of the functions used here; every one returns an AOTIRuntimeError."""
    # AOTIRuntimeError AOTInductorModelContainerCreateWithDevice(AOTInductorModelContainerHandle* container_handle,
    #     size_t num_models, const char* device_str, const char* cubin_dir)
    library.AOTInductorModelContainerCreateWithDevice.argtypes = [c_handle_p, c_size_t, c_char_p, c_char_p]
    # AOTIRuntimeError AOTInductorModelContainerRun(AOTInductorModelContainerHandle container_handle,
    #     AtenTensorHandle* input_handles, size_t num_inputs, AtenTensorHandle* output_handles, size_t num_outputs,
    #     AOTInductorStreamHandle stream_handle, AOTIProxyExecutorHandle proxy_executor_handle);
    #     input handles are stolen, output handles are new references, the arrays are borrowed
    library.AOTInductorModelContainerRun.argtypes = [
        c_void_p, c_handle_p, c_size_t, c_handle_p, c_size_t, c_void_p, c_void_p,
    ]  # fmt: skip
    # AOTIRuntimeError AOTInductorModelContainerGetNumInputs(AOTInductorModelContainerHandle, size_t* ret_num_inputs)
    library.AOTInductorModelContainerGetNumInputs.argtypes = [c_void_p, POINTER(c_size_t)]
    # AOTIRuntimeError AOTInductorModelContainerGetNumOutputs(AOTInductorModelContainerHandle, size_t* ret_num_outputs)
    library.AOTInductorModelContainerGetNumOutputs.argtypes = [c_void_p, POINTER(c_size_t)]
    # AOTIRuntimeError AOTInductorModelContainerDelete(AOTInductorModelContainerHandle container_handle)
    library.AOTInductorModelContainerDelete.argtypes = [c_void_p]
    # AOTIRuntimeError AOTInductorGetLastError(const char** error_msg);  of this thread, borrowed until its next call
    library.AOTInductorGetLastError.argtypes = [POINTER(c_char_p)]
    return library
