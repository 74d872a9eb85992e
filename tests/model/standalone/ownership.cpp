// The runtime library used as a compiled model and the service use it; run under sanitizers, which tell what is freed
// twice, used after it was freed, or never freed. Ends with 1 at the first expectation that does not hold.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <stdexcept>
#include <thread>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#define EXPECT(what)                                                  \
  if (!(what)) {                                                      \
    std::cout << __LINE__ << ": not so: " #what << std::endl;         \
    std::exit(1);                                                     \
  }
#define OK(call) EXPECT((call) == AOTI_TORCH_SUCCESS)
#define REFUSED(call) EXPECT((call) == AOTI_TORCH_FAILURE)

using Numbers = std::vector<int64_t>;

const int32_t FLOAT = aoti_torch_dtype_float32();

AtenTensorHandle over(void* bytes, const Numbers& sizes, const Numbers& strides, int64_t offset = 0) {
  AtenTensorHandle made = nullptr;
  OK(aoti_torch_create_tensor_from_blob(
      bytes, sizes.size(), sizes.data(), strides.data(), offset, FLOAT, aoti_torch_device_type_cpu(), 0, &made));
  return made;
}

AtenTensorHandle empty(const Numbers& sizes, const Numbers& strides) {
  AtenTensorHandle made = nullptr;
  OK(aoti_torch_empty_strided(
      sizes.size(), sizes.data(), strides.data(), FLOAT, aoti_torch_device_type_cpu(), 0, &made));
  return made;
}

AtenTensorHandle view(AtenTensorHandle base, const Numbers& sizes, const Numbers& strides, int64_t further = 0) {
  AtenTensorHandle made = nullptr;
  OK(aoti_torch__reinterpret_tensor(base, sizes.size(), sizes.data(), strides.data(), further, &made));
  return made;
}

float* data(AtenTensorHandle tensor) {
  void* address = nullptr;
  OK(aoti_torch_get_data_ptr(tensor, &address));
  return static_cast<float*>(address);
}

void drop(AtenTensorHandle tensor) {
  OK(aoti_torch_delete_tensor_object(tensor));
}

void a_borrowed_blob_is_not_freed() {
  std::vector<float> blob{0, 1, 2, 3, 4, 5};
  auto tensor = over(blob.data(), {2, 3}, {3, 1});
  EXPECT(data(tensor) == blob.data());
  auto column = view(tensor, {2}, {3}, 2);
  drop(tensor);
  EXPECT(data(column)[0] == 2 && data(column)[3] == 5);
  drop(column);
  EXPECT(blob[5] == 5);
}

void views_outlive_their_base() {
  auto base = empty({4, 4}, {4, 1});
  for (int index = 0; index < 16; ++index) {
    data(base)[index] = static_cast<float>(index);
  }
  auto row = view(base, {4}, {1}, 8);
  auto corner = view(row, {2}, {1}, 2);
  drop(base);
  drop(row);
  EXPECT(data(corner)[0] == 10 && data(corner)[1] == 11);
  drop(corner);
}

void a_tensor_in_two_outputs_is_freed_once() {
  auto output = empty({8}, {1});
  AtenTensorHandle second = nullptr;
  OK(aoti_torch_new_tensor_handle(output, &second));
  EXPECT(second != output && data(second) == data(output));
  data(output)[7] = 7;
  drop(output);
  EXPECT(data(second)[7] == 7);
  AtenTensorHandle third = nullptr;
  OK(aoti_torch_assign_tensors_out(second, &third));
  drop(second);
  EXPECT(data(third)[7] == 7);
  drop(third);
}

void an_assigned_tensor_lets_go_of_its_own_bytes() {
  auto from = empty({2}, {1}), to = empty({300}, {1});
  data(from)[1] = 5;
  OK(aoti_torch_assign_tensors(from, to));
  EXPECT(data(to) == data(from));
  OK(aoti_torch_assign_tensors(to, to));
  drop(from);
  EXPECT(data(to)[1] == 5);
  drop(to);
}

void copies_have_bytes_of_their_own() {
  std::vector<float> blob{0, 1, 2, 3, 4, 5};
  auto turned = over(blob.data(), {3, 2}, {1, 3});
  AtenTensorHandle copy = nullptr, gaps = nullptr;
  OK(aoti_torch_clone(turned, &copy));
  auto plain = empty({3, 2}, {2, 1});
  OK(aoti_torch_copy_(plain, turned, 0));
  auto even = over(blob.data(), {3}, {2});
  OK(aoti_torch_clone_preserve_strides(even, &gaps));
  blob.assign(6, -1);
  for (int index = 0; index < 6; ++index) {
    EXPECT(data(copy)[index] == static_cast<float>(index));
  }
  EXPECT(data(plain)[0] == 0 && data(plain)[1] == 3 && data(plain)[2] == 1 && data(plain)[5] == 5);
  EXPECT(data(gaps)[0] == 0 && data(gaps)[2] == 2 && data(gaps)[4] == 4);
  OK(aoti_torch_zero_(gaps));
  EXPECT(data(gaps)[4] == 0);
  OK(aoti_torch_copy_(plain, plain, 0));
  for (auto each : {turned, copy, plain, even, gaps}) {
    drop(each);
  }
}

void a_pool_holds_tensors_of_several_dtypes() {
  auto pool = empty({64}, {1});
  AtenTensorHandle numbers = nullptr;
  int64_t sizes[] = {3}, strides[] = {1};
  OK(aoti_torch__alloc_from_pool(pool, 128, aoti_torch_dtype_int64(), 1, sizes, strides, &numbers));
  REFUSED(aoti_torch__alloc_from_pool(pool, 129, aoti_torch_dtype_int64(), 1, sizes, strides, &numbers));
  REFUSED(aoti_torch__alloc_from_pool(pool, 240, aoti_torch_dtype_int64(), 1, sizes, strides, &numbers));
  EXPECT(reinterpret_cast<char*>(data(numbers)) == reinterpret_cast<char*>(data(pool)) + 128);
  drop(pool);
  data(numbers)[5] = 1;
  drop(numbers);
}

void tensors_without_elements_have_no_address() {
  auto none = empty({0, 3}, {3, 1});
  AtenTensorHandle copy = nullptr;
  OK(aoti_torch_clone(none, &copy));
  OK(aoti_torch_copy_(copy, none, 0));
  OK(aoti_torch_zero_(none));
  EXPECT(data(none) == nullptr && data(copy) == nullptr);
  drop(over(nullptr, {0}, {1}));
  drop(none);
  drop(copy);
  drop(nullptr);
}

void single_elements_go_in_and_out() {
  AtenTensorHandle one = nullptr;
  OK(aoti_torch_scalar_to_tensor_int64(-7, &one));
  int64_t value = 0, rank = 9, numel = 0;
  float wrong = 0;
  OK(aoti_torch_item_int64(one, &value));
  OK(aoti_torch_get_dim(one, &rank));
  OK(aoti_torch_get_numel(one, &numel));
  EXPECT(value == -7 && rank == 0 && numel == 1);
  REFUSED(aoti_torch_item_float32(one, &wrong));
  REFUSED(aoti_torch_scalar_to_tensor_float32(1, nullptr));
  auto two = empty({2}, {1});
  REFUSED(aoti_torch_item_float32(two, &wrong));
  drop(two);
  drop(one);
}

void wrong_arguments_are_refused() {
  AtenTensorHandle made = nullptr;
  const int32_t cpu = aoti_torch_device_type_cpu();
  const Numbers two{2, 3}, rows{3, 1}, below{-1, 3}, huge{INT64_MAX, INT64_MAX}, wide{INT64_MAX, 1};
  float blob[6] = {};
  REFUSED(aoti_torch_empty_strided(2, below.data(), rows.data(), FLOAT, cpu, 0, &made));
  REFUSED(aoti_torch_empty_strided(2, two.data(), below.data(), FLOAT, cpu, 0, &made));
  REFUSED(aoti_torch_empty_strided(2, huge.data(), wide.data(), FLOAT, cpu, 0, &made));
  REFUSED(aoti_torch_empty_strided(2, two.data(), wide.data(), FLOAT, cpu, 0, &made));
  REFUSED(aoti_torch_empty_strided(2, nullptr, rows.data(), FLOAT, cpu, 0, &made));
  REFUSED(aoti_torch_empty_strided(-1, two.data(), rows.data(), FLOAT, cpu, 0, &made));
  REFUSED(aoti_torch_empty_strided(2, two.data(), rows.data(), 99, cpu, 0, &made));
  REFUSED(aoti_torch_empty_strided(2, two.data(), rows.data(), FLOAT, aoti_torch_device_type_cuda(), 0, &made));
  REFUSED(aoti_torch_empty_strided(2, two.data(), rows.data(), FLOAT, cpu, 0, nullptr));
  REFUSED(aoti_torch_create_tensor_from_blob(blob, 2, two.data(), rows.data(), -1, FLOAT, cpu, 0, &made));
  REFUSED(aoti_torch_create_tensor_from_blob(nullptr, 2, two.data(), rows.data(), 0, FLOAT, cpu, 0, &made));
  REFUSED(aoti_torch_create_tensor_from_blob_v2(
      blob, 2, two.data(), rows.data(), 0, FLOAT, cpu, 0, &made, aoti_torch_layout__mkldnn(), nullptr, 0));
  auto six = over(blob, {2, 3}, {3, 1});
  REFUSED(aoti_torch__reinterpret_tensor(six, 2, two.data(), rows.data(), 1, &made));
  REFUSED(aoti_torch__reinterpret_tensor(six, 2, two.data(), rows.data(), -1, &made));
  REFUSED(aoti_torch__reinterpret_tensor(six, 2, two.data(), rows.data(), INT64_MAX, &made));
  REFUSED(aoti_torch__reinterpret_tensor(six, 2, two.data(), rows.data(), 0, nullptr));
  REFUSED(aoti_torch__reinterpret_tensor(nullptr, 2, two.data(), rows.data(), 0, &made));
  auto five = over(blob, {5}, {1});
  REFUSED(aoti_torch_copy_(six, five, 0));
  REFUSED(aoti_torch_clone(nullptr, &made));
  REFUSED(aoti_torch_clone(six, nullptr));
  REFUSED(aoti_torch_new_tensor_handle(nullptr, &made));
  int64_t number = 0;
  REFUSED(aoti_torch_get_numel(nullptr, &number));
  REFUSED(aoti_torch_get_numel(six, nullptr));
  REFUSED(aoti_torch_get_size(six, 2, &number));
  REFUSED(aoti_torch_get_stride(six, -1, &number));
  drop(five);
  drop(six);
}

void a_failed_check_is_thrown() {
  aoti_torch_check(true, "f", "file", 1, "well");
  try {
    aoti_torch_check(false, "f", "file", 1, "index out of bounds");
    EXPECT(false);
  } catch (const std::runtime_error& fault) {
    EXPECT(std::strstr(fault.what(), "index out of bounds"));
  }
}

void runners_share_what_they_read() {
  auto weights = empty({1024}, {1});
  std::vector<std::thread> runners;
  for (int runner = 0; runner < 4; ++runner) {
    runners.emplace_back([weights] {
      EXPECT(aoti_torch_grad_mode_is_enabled());
      aoti_torch_grad_mode_set_enabled(false);
      for (int run = 0; run < 1000; ++run) {
        auto part = view(weights, {16}, {1}, run % 64);
        AtenTensorHandle again = nullptr;
        OK(aoti_torch_new_tensor_handle(part, &again));
        drop(part);
        drop(again);
      }
    });
  }
  for (auto& each : runners) {
    each.join();
  }
  EXPECT(aoti_torch_grad_mode_is_enabled());
  drop(weights);
}

// `leak` as the argument: forgets a tensor, which the sanitizer must tell.
int main(int count, char**) {
  if (count > 1) {
    data(empty({4}, {1}))[0] = 1;
    return 0;
  }
  a_borrowed_blob_is_not_freed();
  views_outlive_their_base();
  a_tensor_in_two_outputs_is_freed_once();
  an_assigned_tensor_lets_go_of_its_own_bytes();
  copies_have_bytes_of_their_own();
  a_pool_holds_tensors_of_several_dtypes();
  tensors_without_elements_have_no_address();
  single_elements_go_in_and_out();
  wrong_arguments_are_refused();
  a_failed_check_is_thrown();
  runners_share_what_they_read();
  std::cout << "all hold" << std::endl;
}
