// What a tensor is, the numbers of dtypes, layouts and devices, and this thread's gradient mode.

#include <algorithm>
#include <cstring>
#include <string>

#include <torch/headeronly/core/DeviceType.h>
#include <torch/headeronly/core/Layout.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/version.h>

#include "tensor.h"

using standalone::behind;
using standalone::give;
using standalone::guarded;
using standalone::into;
using standalone::Tensor;

#ifndef BUILT_FOR
#error "BUILT_FOR: this interface and the version of torch, as aoti_abi.py tells them"
#endif

// Which programs this library suits: the service compares it with what the artifact says.
extern "C" AOTI_TORCH_EXPORT const char* kindling_built_for() {
  return BUILT_FOR;
}

#define NUMBER(function, value)             \
  int32_t aoti_torch_##function() {         \
    return static_cast<int32_t>(c10::value); \
  }
NUMBER(device_type_cpu, DeviceType::CPU)
NUMBER(device_type_cuda, DeviceType::CUDA)
NUMBER(dtype_float8_e5m2, ScalarType::Float8_e5m2)
NUMBER(dtype_float8_e4m3fn, ScalarType::Float8_e4m3fn)
NUMBER(dtype_float8_e5m2fnuz, ScalarType::Float8_e5m2fnuz)
NUMBER(dtype_float8_e4m3fnuz, ScalarType::Float8_e4m3fnuz)
NUMBER(dtype_bfloat16, ScalarType::BFloat16)
NUMBER(dtype_float16, ScalarType::Half)
NUMBER(dtype_float32, ScalarType::Float)
NUMBER(dtype_float64, ScalarType::Double)
NUMBER(dtype_uint8, ScalarType::Byte)
NUMBER(dtype_uint16, ScalarType::UInt16)
NUMBER(dtype_uint32, ScalarType::UInt32)
NUMBER(dtype_uint64, ScalarType::UInt64)
NUMBER(dtype_int8, ScalarType::Char)
NUMBER(dtype_int16, ScalarType::Short)
NUMBER(dtype_int32, ScalarType::Int)
NUMBER(dtype_int64, ScalarType::Long)
NUMBER(dtype_bool, ScalarType::Bool)
NUMBER(dtype_complex32, ScalarType::ComplexHalf)
NUMBER(dtype_complex64, ScalarType::ComplexFloat)
NUMBER(dtype_complex128, ScalarType::ComplexDouble)
NUMBER(layout_strided, Layout::Strided)
NUMBER(layout__mkldnn, Layout::Mkldnn)
NUMBER(memory_format_contiguous_format, MemoryFormat::Contiguous)
NUMBER(memory_format_channels_last, MemoryFormat::ChannelsLast)
NUMBER(memory_format_channels_last_3d, MemoryFormat::ChannelsLast3d)
NUMBER(memory_format_preserve_format, MemoryFormat::Preserve)
#undef NUMBER

size_t aoti_torch_dtype_element_size(int32_t dtype) {
  return static_cast<size_t>(standalone::element_size(dtype));
}

uint64_t aoti_torch_abi_version() {
  return TORCH_ABI_VERSION;
}

// Gradients are never computed here, but a model reads the mode, changes it and restores it.
namespace {
thread_local bool is_grad_enabled = true;
}

bool aoti_torch_grad_mode_is_enabled() {
  return is_grad_enabled;
}

void aoti_torch_grad_mode_set_enabled(bool enabled) {
  is_grad_enabled = enabled;
}

#define FACT(function, type, value)                                                    \
  AOTITorchError aoti_torch_##function(AtenTensorHandle handle, type* ret) {           \
    return guarded(__func__, [&] {                                                     \
      [[maybe_unused]] Tensor& tensor = behind(handle);                                    \
      into(ret) = value;                                                                 \
    });                                                                                \
  }
FACT(get_data_ptr, void*, tensor.data())
FACT(get_storage_size, int64_t, tensor.storage.size)
FACT(get_storage_numel, int64_t, tensor.storage.size / tensor.item_bytes())
FACT(get_dim, int64_t, static_cast<int64_t>(tensor.sizes.size()))
FACT(get_numel, int64_t, tensor.numel())
FACT(get_sizes, int64_t*, tensor.sizes.data())
FACT(get_strides, int64_t*, tensor.strides.data())
FACT(get_dtype, int32_t, tensor.dtype)
FACT(get_device_type, int32_t, aoti_torch_device_type_cpu())
FACT(get_device_index, int32_t, -1)
FACT(get_layout, int32_t, aoti_torch_layout_strided())
FACT(get_storage_offset, int64_t, tensor.offset)
FACT(is_defined, bool, tensor.is_defined)
#undef FACT

AOTITorchError aoti_torch_get_size(AtenTensorHandle tensor, int64_t d, int64_t* ret) {
  return guarded(__func__, [&] { into(ret) = behind(tensor).sizes.at(d); });
}

AOTITorchError aoti_torch_get_stride(AtenTensorHandle tensor, int64_t d, int64_t* ret) {
  return guarded(__func__, [&] { into(ret) = behind(tensor).strides.at(d); });
}

AOTITorchError aoti_torch_is_contiguous(AtenTensorHandle handle, bool* ret) {
  return guarded(__func__, [&] {
    const Tensor& tensor = behind(handle);
    bool is_contiguous = true;
    int64_t stride = 1;
    const int64_t numel = tensor.numel();
    for (size_t axis = tensor.sizes.size(); axis-- > 0;) {
      is_contiguous = is_contiguous && (tensor.sizes[axis] == 1 || tensor.strides[axis] == stride);
      stride *= std::max<int64_t>(tensor.sizes[axis], 1);
    }
    into(ret) = is_contiguous || numel == 0;
  });
}

#define SCALAR(name, type)                                                                          \
  AOTITorchError aoti_torch_item_##name(AtenTensorHandle handle, type* ret) {                       \
    return guarded(__func__, [&] {                                                                  \
      const Tensor& tensor = behind(handle);                                                            \
      if (tensor.numel() != 1 || tensor.dtype != aoti_torch_dtype_##name()) {                       \
        throw std::invalid_argument("not one element of this dtype");                               \
      }                                                                                             \
      std::memcpy(&into(ret), tensor.data(), sizeof(type));                                           \
    });                                                                                             \
  }
SCALAR(float16, c10::Half)
SCALAR(bfloat16, c10::BFloat16)
#define BOTH_WAYS(name, type)                                                                       \
  SCALAR(name, type)                                                                                \
  AOTITorchError aoti_torch_scalar_to_tensor_##name(type value, AtenTensorHandle* ret) {            \
    const int32_t dtype = aoti_torch_dtype_##name();                                                \
    AOTITorchError failed = aoti_torch_empty_strided(0, nullptr, nullptr, dtype, 0, 0, ret);        \
    return failed ? failed : guarded(__func__, [&] { std::memcpy(behind(*ret).data(), &value, sizeof(type)); }); \
  }
BOTH_WAYS(float32, float)
BOTH_WAYS(float64, double)
BOTH_WAYS(uint8, uint8_t)
BOTH_WAYS(uint16, uint16_t)
BOTH_WAYS(uint32, uint32_t)
BOTH_WAYS(uint64, uint64_t)
BOTH_WAYS(int8, int8_t)
BOTH_WAYS(int16, int16_t)
BOTH_WAYS(int32, int32_t)
BOTH_WAYS(int64, int64_t)
BOTH_WAYS(bool, bool)
#undef BOTH_WAYS
#undef SCALAR

// Throws, as libtorch's does: the model's C interface makes an error of it, with this message.
void aoti_torch_check(bool cond, const char* func, const char* file, uint32_t line, const char* msg) {
  if (!cond) {
    throw std::runtime_error(std::string(msg) + " (" + func + ", " + file + ":" + std::to_string(line) + ")");
  }
}

void aoti_torch_warn(const char* func, const char*, uint32_t, const char* msg) {
  std::fprintf(stderr, "%s: %s\n", func, msg);
}
