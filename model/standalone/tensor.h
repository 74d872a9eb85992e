// A tensor as the compiled model's handles point to it.

#pragma once

#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

// torch's own declarations: a definition that differs from them does not compile.
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/headeronly/core/ScalarType.h>

namespace standalone {

// The bytes that tensors share: freed with the last of them, or never where they are borrowed.
struct Storage {
  std::shared_ptr<char> bytes;
  int64_t size = 0;
};

struct Tensor {
  Storage storage;
  int64_t offset = 0;  // in elements, as strides are
  int32_t dtype = 0;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;
  bool is_defined = true;

  int64_t numel() const;
  int64_t item_bytes() const;
  char* data() const;
};

// Bytes of one element; throws for a number that is no dtype, or one of less than a byte.
int64_t element_size(int32_t dtype);

// The sum; throws where it exceeds an int64.
int64_t sum(int64_t left, int64_t right);

// Elements from the first to the last, both included; throws where it exceeds an int64, or a size or stride is negative.
int64_t extent(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides);

// Strides without gaps, with the dimensions in the order that they have in `strides`; these themselves where they have
// no gaps: what at::clone gives its result (aten/src/ATen/ExpandUtils.cpp, infer_dense_strides).
std::vector<int64_t> dense(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides);

// Calls `row(first, second, count)` for pieces that are contiguous in both; `second` has the sizes of `first`.
template <typename Row>
void for_rows(const Tensor& first, const Tensor& second, Row row) {
  const int64_t rank = static_cast<int64_t>(first.sizes.size());
  const int64_t item = first.item_bytes();
  if (first.numel() == 0) {
    return;
  }
  const bool is_row = rank && first.strides[rank - 1] == 1 && second.strides[rank - 1] == 1;
  const int64_t outer = is_row ? rank - 1 : rank;
  const int64_t count = is_row ? first.sizes[rank - 1] : 1;
  std::vector<int64_t> index(outer, 0);
  char* one = first.data();
  char* other = second.data();
  while (true) {
    row(one, other, count * item);
    int64_t axis = outer - 1;
    for (; axis >= 0; --axis) {
      one += first.strides[axis] * item;
      other += second.strides[axis] * item;
      if (++index[axis] < first.sizes[axis]) {
        break;
      }
      one -= first.strides[axis] * item * index[axis];
      other -= second.strides[axis] * item * index[axis];
      index[axis] = 0;
    }
    if (axis < 0) {
      return;
    }
  }
}

// The tensor behind a handle; throws for a null.
inline Tensor& behind(AtenTensorHandle handle) {
  if (handle == nullptr) {
    throw std::invalid_argument("a null instead of a tensor");
  }
  return *reinterpret_cast<Tensor*>(handle);
}

// Where a result goes; throws for a null.
template <typename Result>
Result& into(Result* result) {
  if (result == nullptr) {
    throw std::invalid_argument("a null instead of a place for the result");
  }
  return *result;
}

// A new reference, which the caller deletes.
inline void give(AtenTensorHandle* result, Tensor tensor) {
  into(result) = nullptr;
  *result = reinterpret_cast<AtenTensorHandle>(new Tensor(std::move(tensor)));
}

// Runs the body of a C function; what it throws becomes an error code and a line on stderr, as in libtorch.
template <typename Body>
AOTITorchError guarded(const char* function, Body body) {
  try {
    body();
    return AOTI_TORCH_SUCCESS;
  } catch (const std::exception& fault) {
    std::fprintf(stderr, "%s: %s\n", function, fault.what());
    return AOTI_TORCH_FAILURE;
  }
}

}  // namespace standalone
