// Convolutions and matrix products of float32, channels last, for compiled models that run without libtorch.
//
// A picture is [count, height, width, channels], and each output pixel is a sum over the taps of the kernel. The addresses
// of all its taps are looked up first: a row of zeros where a tap lies in the padding ("The Indirect Convolution Algorithm",
// arXiv:1907.02129). So one inner loop serves every kernel size, stride, padding and dilation; with one tap, it is the
// matrix product. operators.py packs the weights, and says the same in PyTorch.

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

// The C ABI of torch 2.13, aoti_torch/c/shim.h. Each function returns 0 for success.
struct AtenTensorOpaque;
using AtenTensorHandle = AtenTensorOpaque*;
extern "C" {
int32_t aoti_torch_get_data_ptr(AtenTensorHandle tensor, void** data);
int32_t aoti_torch_get_sizes(AtenTensorHandle tensor, int64_t** sizes);
int32_t aoti_torch_dtype_float32();
int32_t aoti_torch_device_type_cpu();
int32_t aoti_torch_empty_strided(int64_t ndim, const int64_t* sizes, const int64_t* strides, int32_t dtype,
                                 int32_t device_type, int32_t device_index, AtenTensorHandle* made);
}

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, TILE_PIXELS = 12;
#elif defined(__AVX2__)
constexpr int LANES = 8, TILE_PIXELS = 6;
#else
constexpr int LANES = 4, TILE_PIXELS = 6;
#endif

// Channels that a tile computes at once. Its sums fill most of the vector registers: 12 of 16 with AVX2.
constexpr int PANEL = 16;
constexpr int DEPTHWISE_PIXELS = 4;
// What a block of pixels reads, in floats: it stays in a second-level cache of 256 KiB while all weights pass by.
constexpr int64_t BLOCK_FLOATS = 32768;

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef float Unaligned __attribute__((vector_size(4 * LANES), aligned(4)));

inline Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }
// The compiler leaves x - 0 out, which is x for every x. It has to compute x + 0, which is not, for -0.
inline Vector splat(float value) { return value - Vector{}; }

// The numbers of operators.Geometry, in its order.
struct Geometry {
    int64_t kernel_height, kernel_width, stride_y, stride_x, top, left, dilation_y, dilation_x, groups;
    int64_t out_height, out_width, out_channels;
};

struct Picture {
    const float* data;
    int64_t count, height, width, channels;

    const float* operator[](int64_t number) const { return data + number * height * width * channels; }
};

// A NaN stays one, as in torch.clamp.
struct Bounds {
    Vector low, high;

    Vector clamp(Vector value) const {
        value = value < low ? low : value;
        return value > high ? high : value;
    }
};

// out = clamp(convolution of `in` + bias + other); `other` is like `out`, or null.
struct Convolution {
    Picture in;
    Geometry geometry;
    int64_t taps, depth, width;  // taps of the kernel; channels of a group, in and out
    const float *weight, *bias, *other;
    float* out;
    Bounds bounds;
};

// The address of each tap of `pixels` output pixels of one row, from (y, x) on; `zeros` where it lies in the padding.
const float** look_up(const Convolution& c, const float* picture, const float* zeros, int64_t y, int64_t x, int64_t pixels,
                      const float** to) {
    const Geometry& g = c.geometry;
    for (int64_t i = 0; i < g.kernel_height; i++) {
        const int64_t row = y * g.stride_y - g.top + i * g.dilation_y;
        const bool is_inside = row >= 0 && row < c.in.height;
        const float* line = is_inside ? picture + row * c.in.width * c.in.channels : zeros;
        for (int64_t j = 0; j < g.kernel_width; j++, to++) {
            int64_t column = x * g.stride_x - g.left + j * g.dilation_x;
            for (int64_t pixel = 0; pixel < pixels; pixel++, column += g.stride_x) {
                const bool is_there = is_inside && column >= 0 && column < c.in.width;
                to[pixel * c.taps] = is_there ? line + column * c.in.channels : zeros;
            }
        }
    }
    return to + (pixels - 1) * c.taps;
}

// One panel of channels, `width` of which are there.
struct Panel {
    const float *weight, *bias;
    int64_t width;
};

// `PIXELS` output pixels by the first `VECTORS` vectors of one panel, the first pixel at `place` in `out`.
template <int PIXELS, int VECTORS>
void tile(const Convolution& c, const Panel& panel, const float* const* taps, int64_t place) {
    Vector sums[PIXELS][VECTORS];
    for (auto& sum : sums)
        for (int v = 0; v < VECTORS; v++) sum[v] = load(panel.bias + v * LANES);
    const float* weight = panel.weight;
    for (int64_t tap = 0; tap < c.taps; tap++) {
        const float* in[PIXELS];
        for (int p = 0; p < PIXELS; p++) in[p] = taps[p * c.taps + tap];
        for (int64_t k = 0; k < c.depth; k++, weight += PANEL)
            for (int p = 0; p < PIXELS; p++)
                for (int v = 0; v < VECTORS; v++) sums[p][v] += splat(in[p][k]) * load(weight + v * LANES);
    }
    for (int p = 0; p < PIXELS; p++, place += c.geometry.out_channels) {
        float part[PANEL] = {};
        const bool is_whole = panel.width == VECTORS * LANES;
        const float* other = c.other ? c.other + place : nullptr;
        if (other && !is_whole) {
            std::copy_n(other, panel.width, part);
            other = part;
        }
        for (int v = 0; v < VECTORS; v++) {
            if (other) sums[p][v] += load(other + v * LANES);
            store((is_whole ? c.out + place : part) + v * LANES, c.bounds.clamp(sums[p][v]));
        }
        if (!is_whole) std::copy_n(part, panel.width, c.out + place);
    }
}

using Tile = void (*)(const Convolution&, const Panel&, const float* const*, int64_t);

template <int VECTORS, int... NUMBERS>
constexpr std::array<Tile, TILE_PIXELS> tiles_of(std::integer_sequence<int, NUMBERS...>) {
    return {tile<NUMBERS + 1, VECTORS>...};
}

template <int... NUMBERS>
constexpr auto all_tiles(std::integer_sequence<int, NUMBERS...>) {
    return std::array{tiles_of<NUMBERS + 1>(std::make_integer_sequence<int, TILE_PIXELS>())...};
}
// tiles[v - 1][n - 1] computes n pixels by v vectors.
constexpr auto tiles = all_tiles(std::make_integer_sequence<int, PANEL / LANES>());

// One group of channels for the output pixels from `first` to `last`, counted through all pictures.
void block(const Convolution& c, int64_t group, int64_t first, int64_t last, const float* zeros) {
    const Geometry& g = c.geometry;
    std::vector<const float*> taps((last - first) * c.taps);
    const float** to = taps.data();
    for (int64_t pixel = first, run; pixel < last; pixel += run) {
        const int64_t x = pixel % g.out_width, row = pixel / g.out_width;
        run = std::min(g.out_width - x, last - pixel);
        to = look_up(c, c.in[row / g.out_height] + group * c.depth, zeros, row % g.out_height, x, run, to);
    }
    const int64_t panels = (c.width + PANEL - 1) / PANEL;
    for (int64_t number = 0; number < panels; number++) {
        const int64_t index = group * panels + number;
        const Panel panel{c.weight + index * c.taps * c.depth * PANEL, c.bias + index * PANEL,
                          std::min<int64_t>(PANEL, c.width - number * PANEL)};
        const auto& computes = tiles[(panel.width - 1) / LANES];
        for (int64_t pixel = first, pixels; pixel < last; pixel += pixels) {
            pixels = std::min<int64_t>(TILE_PIXELS, last - pixel);
            const int64_t place = pixel * g.out_channels + group * c.width + number * PANEL;
            computes[pixels - 1](c, panel, taps.data() + (pixel - first) * c.taps, place);
        }
    }
}

// weight: [groups, panels, taps, depth, PANEL], bias: [groups, panels, PANEL], with zeros beyond the last channel.
void convolve(const Convolution& c) {
    const Geometry& g = c.geometry;
    const std::vector<float> zeros(c.depth);
    // Neighbours share most of what their taps read.
    const int64_t reads = c.depth * std::min<int64_t>(c.taps, 3);
    const int64_t size = TILE_PIXELS * std::clamp<int64_t>(BLOCK_FLOATS / reads / TILE_PIXELS, 1, 40);
    const int64_t pixels = c.in.count * g.out_height * g.out_width, blocks = (pixels + size - 1) / size;
#pragma omp parallel for collapse(2)
    for (int64_t group = 0; group < g.groups; group++)
        for (int64_t number = 0; number < blocks; number++)
            block(c, group, number * size, std::min(pixels, (number + 1) * size), zeros.data());
}

// `PIXELS` output pixels of one panel of channels, the first at `place` in `out`.
template <int PIXELS>
void depthwise_tile(const Convolution& c, int64_t channel, const float* const* taps, int64_t place) {
    constexpr int VECTORS = PANEL / LANES;
    const int64_t channels = c.in.channels;
    Vector sums[PIXELS][VECTORS];
    for (auto& sum : sums)
        for (int v = 0; v < VECTORS; v++) sum[v] = load(c.bias + channel + v * LANES);
    for (int64_t tap = 0; tap < c.taps; tap++)
        for (int v = 0; v < VECTORS; v++) {
            const int64_t from = channel + v * LANES;
            const Vector weight = load(c.weight + tap * channels + from);
            for (int p = 0; p < PIXELS; p++) sums[p][v] += load(taps[p * c.taps + tap] + from) * weight;
        }
    for (int p = 0; p < PIXELS; p++)
        for (int v = 0; v < VECTORS; v++) {
            const int64_t to = place + p * channels + v * LANES;
            if (c.other) sums[p][v] += load(c.other + to);
            store(c.out + to, c.bounds.clamp(sums[p][v]));
        }
}

// Each channel by itself, at least PANEL of them. weight: [taps, channels], bias: [channels].
void convolve_depthwise(const Convolution& c) {
    const Geometry& g = c.geometry;
    const std::vector<float> zeros(c.in.channels);
#pragma omp parallel for
    for (int64_t row = 0; row < c.in.count * g.out_height; row++) {
        std::vector<const float*> taps(g.out_width * c.taps);
        look_up(c, c.in[row / g.out_height], zeros.data(), row % g.out_height, 0, g.out_width, taps.data());
        for (int64_t next = 0; next < c.in.channels; next += PANEL) {
            // The last panel computes some channels of the one before a second time.
            const int64_t channel = std::min(next, c.in.channels - PANEL);
            for (int64_t x = 0, pixels; x < g.out_width; x += pixels) {
                pixels = x + DEPTHWISE_PIXELS <= g.out_width ? DEPTHWISE_PIXELS : 1;
                const auto compute = pixels == 1 ? depthwise_tile<1> : depthwise_tile<DEPTHWISE_PIXELS>;
                compute(c, channel, taps.data() + x * c.taps, (row * g.out_width + x) * c.in.channels + channel);
            }
        }
    }
}

template <typename T>
T* data_of(AtenTensorHandle tensor) {
    void* data = nullptr;
    return aoti_torch_get_data_ptr(tensor, &data) ? nullptr : static_cast<T*>(data);
}

int32_t run(void (*convolution)(const Convolution&), AtenTensorHandle picture, AtenTensorHandle weight, AtenTensorHandle bias,
            const AtenTensorHandle* other, const int64_t* geometry, double low, double high, AtenTensorHandle* made) {
    int64_t* in = nullptr;
    if (const int32_t failed = aoti_torch_get_sizes(picture, &in)) return failed;
    const Geometry& g = *reinterpret_cast<const Geometry*>(geometry);
    const int64_t sizes[] = {in[0], g.out_height, g.out_width, g.out_channels};
    const int64_t strides[] = {sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1};
    if (const int32_t failed = aoti_torch_empty_strided(4, sizes, strides, aoti_torch_dtype_float32(),
                                                        aoti_torch_device_type_cpu(), 0, made))
        return failed;
    convolution({{data_of<const float>(picture), in[0], in[1], in[2], in[3]},
                 g,
                 g.kernel_height * g.kernel_width,
                 in[3] / g.groups,
                 g.out_channels / g.groups,
                 data_of<const float>(weight),
                 data_of<const float>(bias),
                 other ? data_of<const float>(*other) : nullptr,
                 data_of<float>(*made),
                 {splat(static_cast<float>(low)), splat(static_cast<float>(high))}});
    return 0;
}

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

// What Inductor calls for the operators; `made` is a new reference.
EXPORTED int32_t aoti_torch_cpu_packed_convolution(AtenTensorHandle picture, AtenTensorHandle weight, AtenTensorHandle bias,
                                                   AtenTensorHandle* other, const int64_t* geometry, int64_t, double low,
                                                   double high, AtenTensorHandle* made) {
    return run(convolve, picture, weight, bias, other, geometry, low, high, made);
}

EXPORTED int32_t aoti_torch_cpu_packed_depthwise(AtenTensorHandle picture, AtenTensorHandle weight, AtenTensorHandle bias,
                                                 AtenTensorHandle* other, const int64_t* geometry, int64_t, double low,
                                                 double high, AtenTensorHandle* made) {
    return run(convolve_depthwise, picture, weight, bias, other, geometry, low, high, made);
}
