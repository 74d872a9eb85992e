#include "tensor.h"

#include <algorithm>
#include <numeric>

namespace standalone {

namespace {

int64_t product(int64_t left, int64_t right) {
  int64_t result = 0;
  if (__builtin_mul_overflow(left, right, &result)) {
    throw std::invalid_argument("a tensor of more bytes than there are addresses");
  }
  return result;
}

}  // namespace

int64_t sum(int64_t left, int64_t right) {
  int64_t result = 0;
  if (__builtin_add_overflow(left, right, &result)) {
    throw std::invalid_argument("a tensor of more bytes than there are addresses");
  }
  return result;
}

int64_t element_size(int32_t dtype) {
  switch (static_cast<c10::ScalarType>(dtype)) {
#define SIZE_OF(type, name)    \
  case c10::ScalarType::name: \
    return sizeof(type);
    AT_FORALL_SCALAR_TYPES_WITH_COMPLEX(SIZE_OF)
    SIZE_OF(uint16_t, UInt16)
    SIZE_OF(uint32_t, UInt32)
    SIZE_OF(uint64_t, UInt64)
#undef SIZE_OF
    default:
      throw std::invalid_argument("no dtype has the number " + std::to_string(dtype));
  }
}

int64_t extent(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides) {
  int64_t last = 0;
  bool is_empty = false;
  for (size_t axis = 0; axis < sizes.size(); ++axis) {
    if (sizes[axis] < 0 || strides[axis] < 0) {
      throw std::invalid_argument("a size or a stride below zero");
    }
    is_empty = is_empty || sizes[axis] == 0;
    last = sum(last, product(std::max<int64_t>(sizes[axis] - 1, 0), strides[axis]));
  }
  return is_empty ? 0 : sum(last, 1);
}

std::vector<int64_t> dense(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides) {
  std::vector<size_t> inward(sizes.size());
  std::iota(inward.rbegin(), inward.rend(), size_t{0});
  for (size_t next = 1; next < inward.size(); ++next) {
    for (size_t place = next, before = next; before-- > 0;) {
      const size_t left = inward[before], right = inward[place];
      if (strides[left] == 0 || strides[right] == 0 || (strides[left] == strides[right] && sizes[left] <= sizes[right])) {
        continue;
      }
      if (strides[left] < strides[right]) {
        break;
      }
      std::swap(inward[before], inward[place]);
      place = before;
    }
  }
  std::vector<int64_t> result(sizes.size());
  bool is_dense = true;
  int64_t stride = 1;
  for (size_t axis : inward) {
    result[axis] = stride;
    is_dense = is_dense && (sizes[axis] == 1 || strides[axis] == stride);
    stride = product(stride, std::max<int64_t>(sizes[axis], 1));
  }
  return is_dense ? strides : result;
}

int64_t Tensor::numel() const {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, product);
}

int64_t Tensor::item_bytes() const {
  return element_size(dtype);
}

char* Tensor::data() const {
  return numel() == 0 ? nullptr : storage.bytes.get() + offset * item_bytes();
}

}  // namespace standalone
