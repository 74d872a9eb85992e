// Tensors made, viewed, copied and deleted, as torch's C shim declares it; no kernels.

#include <cstdlib>
#include <cstring>
#include <new>

#include "tensor.h"

using standalone::behind;
using standalone::give;
using standalone::guarded;
using standalone::into;
using standalone::Storage;
using standalone::Tensor;

namespace {

// As libtorch aligns them, and as Inductor's vector code may expect.
constexpr int64_t ALIGNMENT = 64;

Storage allocated(int64_t bytes) {
  if (bytes == 0) {
    return {};
  }
  const int64_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  auto* memory = static_cast<char*>(std::aligned_alloc(ALIGNMENT, rounded));
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return {std::shared_ptr<char>(memory, std::free), bytes};
}

std::vector<int64_t> numbers(const int64_t* first, int64_t count) {
  if (count < 0 || (count > 0 && first == nullptr)) {
    throw std::invalid_argument("a null instead of sizes or strides");
  }
  return {first, first + count};
}

Tensor shaped(int32_t dtype, int64_t rank, const int64_t* sizes, const int64_t* strides) {
  Tensor tensor;
  tensor.dtype = dtype;
  tensor.sizes = numbers(sizes, rank);
  tensor.strides = numbers(strides, rank);
  return tensor;
}

int64_t bytes_of(const Tensor& tensor) {
  const int64_t elements = standalone::extent(tensor.sizes, tensor.strides);
  int64_t end = 0;
  int64_t bytes = 0;
  if (tensor.offset < 0 || __builtin_add_overflow(elements, elements ? tensor.offset : 0, &end) ||
      __builtin_mul_overflow(end, tensor.item_bytes(), &bytes)) {
    throw std::invalid_argument("an offset below zero, or a tensor of more bytes than there are addresses");
  }
  return bytes;
}

void check_device(int32_t type) {
  if (type != aoti_torch_device_type_cpu()) {
    throw std::invalid_argument("a device other than the CPU");
  }
}

Tensor empty(int32_t dtype, std::vector<int64_t> sizes, std::vector<int64_t> strides) {
  Tensor tensor;
  tensor.dtype = dtype;
  tensor.sizes = std::move(sizes);
  tensor.strides = std::move(strides);
  tensor.storage = allocated(bytes_of(tensor));
  return tensor;
}

// `tensor` with the storage of another, which must hold all of it.
Tensor view(Tensor tensor, const Storage& storage) {
  if (bytes_of(tensor) > storage.size) {
    throw std::invalid_argument("a view that does not lie within its storage");
  }
  tensor.storage = storage;
  return tensor;
}

void copy(const Tensor& to, const Tensor& from) {
  if (to.sizes != from.sizes || to.dtype != from.dtype) {
    throw std::invalid_argument("a copy between tensors of other shapes or dtypes");
  }
  if (to.strides == from.strides && to.strides == standalone::dense(to.sizes, to.strides)) {
    if (to.numel() != 0) {
      std::memmove(to.data(), from.data(), to.numel() * to.item_bytes());
    }
    return;
  }
  standalone::for_rows(to, from, [](char* one, char* other, int64_t bytes) { std::memmove(one, other, bytes); });
}

Tensor clone(const Tensor& from, std::vector<int64_t> strides) {
  Tensor to = empty(from.dtype, from.sizes, std::move(strides));
  copy(to, from);
  return to;
}

}  // namespace

AOTITorchError aoti_torch_create_tensor_from_blob_v2(
    void* data, int64_t ndim, const int64_t* sizes, const int64_t* strides, int64_t storage_offset, int32_t dtype,
    int32_t device_type, int32_t, AtenTensorHandle* ret, int32_t layout, const uint8_t*, int64_t) {
  return guarded(__func__, [&] {
    check_device(device_type);
    if (layout != aoti_torch_layout_strided()) {
      throw std::invalid_argument("a layout other than strided");
    }
    Tensor tensor = shaped(dtype, ndim, sizes, strides);
    tensor.offset = storage_offset;
    const int64_t bytes = bytes_of(tensor);
    if (data == nullptr && bytes != 0) {
      throw std::invalid_argument("a null instead of the tensor's bytes");
    }
    // Borrowed: nothing is freed with the last tensor.
    tensor.storage = {std::shared_ptr<char>(static_cast<char*>(data), [](char*) {}), bytes};
    give(ret, std::move(tensor));
  });
}

AOTITorchError aoti_torch_create_tensor_from_blob(
    void* data, int64_t ndim, const int64_t* sizes, const int64_t* strides, int64_t storage_offset, int32_t dtype,
    int32_t device_type, int32_t device_index, AtenTensorHandle* ret) {
  return aoti_torch_create_tensor_from_blob_v2(
      data, ndim, sizes, strides, storage_offset, dtype, device_type, device_index, ret, aoti_torch_layout_strided(),
      nullptr, 0);
}

AOTITorchError aoti_torch_empty_strided(
    int64_t ndim, const int64_t* sizes, const int64_t* strides, int32_t dtype, int32_t device_type, int32_t,
    AtenTensorHandle* ret) {
  return guarded(__func__, [&] {
    check_device(device_type);
    give(ret, empty(dtype, numbers(sizes, ndim), numbers(strides, ndim)));
  });
}

AOTITorchError aoti_torch_new_uninitialized_tensor(AtenTensorHandle* ret) {
  return guarded(__func__, [&] {
    Tensor tensor;
    tensor.is_defined = false;
    give(ret, std::move(tensor));
  });
}

AOTITorchError aoti_torch_delete_tensor_object(AtenTensorHandle tensor) {
  delete reinterpret_cast<Tensor*>(tensor);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_new_tensor_handle(AtenTensorHandle orig_handle, AtenTensorHandle* new_handle) {
  return guarded(__func__, [&] { give(new_handle, behind(orig_handle)); });
}

AOTITorchError aoti_torch_assign_tensors(AtenTensorHandle src, AtenTensorHandle dst) {
  return guarded(__func__, [&] { behind(dst) = Tensor(behind(src)); });
}

AOTITorchError aoti_torch_assign_tensors_out(AtenTensorHandle src, AtenTensorHandle* ret_dst) {
  return guarded(__func__, [&] { give(ret_dst, behind(src)); });
}

AOTITorchError aoti_torch__reinterpret_tensor(
    AtenTensorHandle self, int64_t ndim, const int64_t* sizes, const int64_t* strides, int64_t offset_increment,
    AtenTensorHandle* ret) {
  return guarded(__func__, [&] {
    const Tensor& base = behind(self);
    Tensor tensor = shaped(base.dtype, ndim, sizes, strides);
    tensor.offset = standalone::sum(base.offset, offset_increment);
    give(ret, view(std::move(tensor), base.storage));
  });
}

AOTITorchError aoti_torch_as_strided(
    AtenTensorHandle self, const int64_t* sizes, const int64_t* strides, AtenTensorHandle* ret) {
  return guarded(__func__, [&] {
    const Tensor& base = behind(self);
    Tensor tensor = shaped(base.dtype, static_cast<int64_t>(base.sizes.size()), sizes, strides);
    tensor.offset = base.offset;
    give(ret, view(std::move(tensor), base.storage));
  });
}

AOTITorchError aoti_torch__alloc_from_pool(
    AtenTensorHandle self, int64_t offset_bytes, int32_t dtype, int64_t ndim, const int64_t* sizes,
    const int64_t* strides, AtenTensorHandle* ret) {
  return guarded(__func__, [&] {
    const Tensor& pool = behind(self);
    Tensor tensor = shaped(dtype, ndim, sizes, strides);
    if (pool.offset != 0 || offset_bytes % tensor.item_bytes() != 0) {
      throw std::invalid_argument("an offset into the pool that is not that of an element");
    }
    tensor.offset = offset_bytes / tensor.item_bytes();
    give(ret, view(std::move(tensor), pool.storage));
  });
}

AOTITorchError aoti_torch_clone(AtenTensorHandle self, AtenTensorHandle* ret) {
  return guarded(__func__, [&] {
    const Tensor& from = behind(self);
    give(ret, clone(from, standalone::dense(from.sizes, from.strides)));
  });
}

AOTITorchError aoti_torch_clone_preserve_strides(AtenTensorHandle self, AtenTensorHandle* ret) {
  return guarded(__func__, [&] { give(ret, clone(behind(self), behind(self).strides)); });
}

AOTITorchError aoti_torch_copy_(AtenTensorHandle self, AtenTensorHandle src, int32_t) {
  return guarded(__func__, [&] { copy(behind(self), behind(src)); });
}

AOTITorchError aoti_torch_tensor_copy_(AtenTensorHandle src, AtenTensorHandle dst) {
  return aoti_torch_copy_(dst, src, 0);
}

AOTITorchError aoti_torch_zero_(AtenTensorHandle self) {
  return guarded(__func__, [&] {
    standalone::for_rows(behind(self), behind(self), [](char* one, char*, int64_t bytes) { std::memset(one, 0, bytes); });
  });
}
