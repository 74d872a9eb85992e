// The C functions that Inductor calls for the operators of operators.py. A returned tensor is a new reference.

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include "attention.h"
#include "convolution.h"

namespace kindling {
namespace {

struct Layer {
    AtenTensorHandle weight, bias;
    const AtenTensorHandle* other;
    const Geometry& geometry;
    double low, high;
};

const Geometry& geometry_of(const int64_t* numbers) { return *reinterpret_cast<const Geometry*>(numbers); }

float* data_of(AtenTensorHandle tensor) {
    void* data = nullptr;
    aoti_torch_get_data_ptr(tensor, &data);
    return static_cast<float*>(data);
}

const int64_t* sizes_of(AtenTensorHandle tensor) {
    int64_t* sizes = nullptr;
    aoti_torch_get_sizes(tensor, &sizes);
    return sizes;
}

Picture picture_of(AtenTensorHandle tensor) {
    const int64_t* sizes = sizes_of(tensor);
    return {data_of(tensor), sizes[0], sizes[1], sizes[2], sizes[3]};
}

// Whether a tensor lies in memory as the kernels read it.
bool is_plain(AtenTensorHandle tensor) {
    bool is = false;
    return !aoti_torch_is_contiguous(tensor, &is) && is;
}

bool are_plain(AtenTensorHandle picture, const AtenTensorHandle* other) {
    return is_plain(picture) && (!other || is_plain(*other));
}

AOTITorchError make(const int64_t (&sizes)[4], AtenTensorHandle* made) {
    const int64_t strides[] = {sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1};
    const int32_t dtype = aoti_torch_dtype_float32(), device = aoti_torch_device_type_cpu();
    return aoti_torch_empty_strided(4, sizes, strides, dtype, device, 0, made);
}

AOTITorchError make(int64_t count, const Geometry& g, AtenTensorHandle* made) {
    return make({count, g.out_height, g.out_width, g.out_channels}, made);
}

Convolution convolution(const Picture& in, const Layer& layer, float* out) {
    const Geometry& g = layer.geometry;
    const int64_t taps = g.kernel_height * g.kernel_width, depth = in.channels / g.groups, width = g.out_channels / g.groups;
    const float* other = layer.other ? data_of(*layer.other) : nullptr;
    const Bounds bounds{splat(static_cast<float>(layer.low)), splat(static_cast<float>(layer.high))};
    return {in, g, taps, depth, width, data_of(layer.weight), data_of(layer.bias), other, out, bounds};
}

AOTITorchError run(void (*compute)(const Convolution&), AtenTensorHandle picture, const Layer& layer, AtenTensorHandle* made) {
    if (!are_plain(picture, layer.other)) return AOTI_TORCH_FAILURE;
    const Picture in = picture_of(picture);
    if (const AOTITorchError failed = make(in.count, layer.geometry, made)) return failed;
    compute(convolution(in, layer, data_of(*made)));
    return AOTI_TORCH_SUCCESS;
}

}  // namespace
}  // namespace kindling

#define EXPORTED extern "C" __attribute__((visibility("default"))) AOTITorchError

EXPORTED aoti_torch_cpu_packed_convolution(
    AtenTensorHandle picture, AtenTensorHandle weight, AtenTensorHandle bias, AtenTensorHandle* other, const int64_t* geometry,
    int64_t, double low, double high, AtenTensorHandle* made) {
    const kindling::Layer layer{weight, bias, other, kindling::geometry_of(geometry), low, high};
    return kindling::run(kindling::convolve, picture, layer, made);
}

EXPORTED aoti_torch_cpu_packed_depthwise(
    AtenTensorHandle picture, AtenTensorHandle weight, AtenTensorHandle bias, AtenTensorHandle* other, const int64_t* geometry,
    int64_t, double low, double high, AtenTensorHandle* made) {
    const kindling::Layer layer{weight, bias, other, kindling::geometry_of(geometry), low, high};
    return kindling::run(kindling::convolve_depthwise, picture, layer, made);
}

EXPORTED aoti_torch_cpu_packed_expanded(
    AtenTensorHandle picture, AtenTensorHandle expand_weight, AtenTensorHandle expand_bias, const int64_t* expand_geometry,
    int64_t, double expand_low, double expand_high, AtenTensorHandle weight, AtenTensorHandle bias, AtenTensorHandle* other,
    const int64_t* geometry, int64_t, double low, double high, AtenTensorHandle* made) {
    using namespace kindling;
    const Layer first{expand_weight, expand_bias, nullptr, geometry_of(expand_geometry), expand_low, expand_high};
    const Layer second{weight, bias, other, geometry_of(geometry), low, high};
    if (!are_plain(picture, other)) return AOTI_TORCH_FAILURE;
    const Picture in = picture_of(picture);
    if (const AOTITorchError failed = make(in.count, second.geometry, made)) return failed;
    // Its rows have no place of their own.
    const Picture between{nullptr, in.count, in.height, in.width, first.geometry.out_channels};
    convolve_expanded(convolution(in, first, nullptr), convolution(between, second, data_of(*made)));
    return AOTI_TORCH_SUCCESS;
}

EXPORTED aoti_torch_cpu_attention(
    AtenTensorHandle query, AtenTensorHandle key, AtenTensorHandle value, double scale, AtenTensorHandle* made) {
    using namespace kindling;
    if (!is_plain(query) || !is_plain(key) || !is_plain(value)) return AOTI_TORCH_FAILURE;
    const int64_t *asked = sizes_of(query), *told = sizes_of(value);
    if (const AOTITorchError failed = make({asked[0], asked[1], asked[2], told[3]}, made)) return failed;
    attend({asked[0], asked[2], asked[1], told[1], asked[3], told[3], data_of(query), data_of(key), data_of(value),
            static_cast<float>(scale), data_of(*made)});
    return AOTI_TORCH_SUCCESS;
}
