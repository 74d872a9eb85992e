"""The C ABI of ONNX Runtime, as far as a graph needs it: declarations only.

The prototypes stand in ONNX Runtime's onnxruntime_c_api.h. Its functions are not symbols of the library: they are in the
table OrtApi, to which each version appends some and in which none ever moves.
"""

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from types import SimpleNamespace
from typing import Any

# The version of the table that the functions below are in; GetTensorElementTypeAndShapeDataReference is the newest.
API_VERSION = 24

# OrtLoggingLevel: every error is raised, with its message, so none is printed.
LOGGING_FATAL = 4
# GraphOptimizationLevel
ENABLE_ALL = 99
# OrtAllocatorType, OrtMemType
DEVICE_ALLOCATOR, MEM_TYPE_DEFAULT = 0, 0

DTYPES = {
    "FP32": 1, "UINT8": 2, "INT8": 3, "UINT16": 4, "INT16": 5, "INT32": 6, "INT64": 7, "BOOL": 9, "FP16": 10,
    "FP64": 11, "UINT32": 12, "UINT64": 13, "BF16": 16,
}  # fmt: skip
"""Open Inference Protocol datatype -> ONNXTensorElementDataType."""

c_handle_p = POINTER(c_void_p)
c_char_pp = POINTER(c_char_p)


class ApiBase(ctypes.Structure):
    """struct OrtApiBase: the only thing that the library exports, by `const OrtApiBase* OrtGetApiBase(void)`."""

    _fields_ = (
        # const OrtApi* GetApi(uint32_t version);  NULL if the library has no such version
        ("GetApi", ctypes.PYFUNCTYPE(c_void_p, c_uint32)),
        # const char* GetVersionString(void)
        ("GetVersionString", ctypes.PYFUNCTYPE(c_char_p)),
    )


def bind_base(library: ctypes.CDLL) -> Any:
    """The library's OrtApiBase."""
    library.OrtGetApiBase.argtypes, library.OrtGetApiBase.restype = [], POINTER(ApiBase)
    return library.OrtGetApiBase().contents


def bind(table: int) -> Any:
    """The functions used here of the OrtApi at `table`; `status` is NULL for success, and else is owned.

    Those that take milliseconds release the GIL. The others take microseconds and keep it: a runner that released it
    would have to wait for it behind the requests' threads.
    """
    functions = ctypes.cast(table, c_handle_p)

    def short(index: int, result: Any, *arguments: Any) -> Any:
        return ctypes.PYFUNCTYPE(result, *arguments)(functions[index])

    def long(index: int, *arguments: Any) -> Any:
        return ctypes.CFUNCTYPE(c_void_p, *arguments)(functions[index])

    status = c_void_p
    return SimpleNamespace(
        # const char* GetErrorMessage(const OrtStatus* status);  borrowed from the status
        GetErrorMessage=short(2, c_char_p, c_void_p),
        # OrtStatus* CreateEnv(OrtLoggingLevel log_severity_level, const char* logid, OrtEnv** out);
        #     a process has one environment: each call gives a new reference to it
        CreateEnv=long(3, c_int, c_char_p, c_handle_p),
        # OrtStatus* CreateSession(const OrtEnv* env, const char* model_path, const OrtSessionOptions* options,
        #     OrtSession** out);  the environment must outlive the session
        CreateSession=long(7, c_void_p, c_char_p, c_void_p, c_handle_p),
        # OrtStatus* Run(OrtSession* session, const OrtRunOptions* run_options, const char* const* input_names,
        #     const OrtValue* const* inputs, size_t input_len, const char* const* output_names,
        #     size_t output_names_len, OrtValue** outputs);
        #     everything is borrowed, and the outputs, which must be NULL before, are new references
        Run=long(9, c_void_p, c_void_p, c_char_pp, c_handle_p, c_size_t, c_char_pp, c_size_t, c_handle_p),
        # OrtStatus* CreateSessionOptions(OrtSessionOptions** options);  the options are new
        CreateSessionOptions=short(10, status, c_handle_p),
        # OrtStatus* DisableMemPattern(OrtSessionOptions* options);  it is enabled by default
        DisableMemPattern=short(17, status, c_void_p),
        # OrtStatus* SetSessionGraphOptimizationLevel(OrtSessionOptions* options, GraphOptimizationLevel level)
        SetSessionGraphOptimizationLevel=short(23, status, c_void_p, c_int),
        # OrtStatus* SetIntraOpNumThreads(OrtSessionOptions* options, int threads); SetInterOpNumThreads: the same
        SetIntraOpNumThreads=short(24, status, c_void_p, c_int),
        SetInterOpNumThreads=short(25, status, c_void_p, c_int),
        # OrtStatus* SessionGetInputCount(const OrtSession* session, size_t* out); SessionGetOutputCount: the same
        SessionGetInputCount=short(30, status, c_void_p, POINTER(c_size_t)),
        SessionGetOutputCount=short(31, status, c_void_p, POINTER(c_size_t)),
        # OrtStatus* SessionGetInputName(const OrtSession* session, size_t index, OrtAllocator* allocator, char** value);
        #     the name is to be freed by AllocatorFree; SessionGetOutputName: the same
        SessionGetInputName=short(36, status, c_void_p, c_size_t, c_void_p, c_handle_p),
        SessionGetOutputName=short(37, status, c_void_p, c_size_t, c_void_p, c_handle_p),
        # OrtStatus* CreateRunOptions(OrtRunOptions** out);  the options are new
        CreateRunOptions=short(39, status, c_handle_p),
        # OrtStatus* CreateTensorWithDataAsOrtValue(const OrtMemoryInfo* info, void* p_data, size_t p_data_len,
        #     const int64_t* shape, size_t shape_len, ONNXTensorElementDataType type, OrtValue** out);
        #     the data is borrowed, the value is a new reference
        CreateTensorWithDataAsOrtValue=short(
            49, status, c_void_p, c_char_p, c_size_t, POINTER(c_int64), c_size_t, c_int, c_handle_p
        ),
        # OrtStatus* GetTensorMutableData(OrtValue* value, void** out);  borrowed from the value
        GetTensorMutableData=short(51, status, c_void_p, c_handle_p),
        # OrtStatus* CreateCpuMemoryInfo(enum OrtAllocatorType type, enum OrtMemType mem_type, OrtMemoryInfo** out)
        CreateCpuMemoryInfo=short(69, status, c_int, c_int, c_handle_p),
        # OrtStatus* AllocatorFree(OrtAllocator* ort_allocator, void* p);  for what that allocator gave
        AllocatorFree=short(76, status, c_void_p, c_void_p),
        # OrtStatus* GetAllocatorWithDefaultOptions(OrtAllocator** out);  borrowed for good
        GetAllocatorWithDefaultOptions=short(78, status, c_handle_p),
        # void ReleaseEnv(OrtEnv* input), and so on; each takes NULL too
        ReleaseEnv=short(92, None, c_void_p),
        ReleaseStatus=short(93, None, c_void_p),
        ReleaseMemoryInfo=short(94, None, c_void_p),
        ReleaseSession=short(95, None, c_void_p),
        ReleaseValue=short(96, None, c_void_p),
        ReleaseRunOptions=short(97, None, c_void_p),
        ReleaseSessionOptions=short(100, None, c_void_p),
        # OrtStatus* AddSessionConfigEntry(OrtSessionOptions* options, const char* config_key, const char* config_value)
        AddSessionConfigEntry=short(130, status, c_void_p, c_char_p, c_char_p),
        # OrtStatus* AddRunConfigEntry(OrtRunOptions* options, const char* config_key, const char* config_value)
        AddRunConfigEntry=short(165, status, c_void_p, c_char_p, c_char_p),
        # OrtStatus* GetTensorElementTypeAndShapeDataReference(const OrtValue* value,
        #     ONNXTensorElementDataType* elem_type, const int64_t** shape_data, size_t* shape_data_count);
        #     the shape is borrowed from the value
        GetTensorElementTypeAndShapeDataReference=short(
            414, status, c_void_p, POINTER(c_int), POINTER(POINTER(c_int64)), POINTER(c_size_t)
        ),
    )
