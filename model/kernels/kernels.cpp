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

#include <omp.h>

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

// The input rows under the kernel for the output row `y`; null where they lie in the padding.
std::vector<const float*> lines_of(const Convolution& c, const float* picture, int64_t y) {
    const Geometry& g = c.geometry;
    std::vector<const float*> lines(g.kernel_height);
    for (int64_t i = 0; i < g.kernel_height; i++) {
        const int64_t row = y * g.stride_y - g.top + i * g.dilation_y;
        if (row >= 0 && row < c.in.height) lines[i] = picture + row * c.in.width * c.in.channels;
    }
    return lines;
}

// The address of each tap of `pixels` output pixels of one row, from `x` on; `zeros` where it lies in the padding.
const float** look_up(const Convolution& c, const std::vector<const float*>& lines, const float* zeros, int64_t x,
                      int64_t pixels, const float** to) {
    const Geometry& g = c.geometry;
    for (const float* line : lines)
        for (int64_t j = 0; j < g.kernel_width; j++, to++) {
            int64_t column = x * g.stride_x - g.left + j * g.dilation_x;
            for (int64_t pixel = 0; pixel < pixels; pixel++, column += g.stride_x) {
                const bool is_there = line && column >= 0 && column < c.in.width;
                to[pixel * c.taps] = is_there ? line + column * c.in.channels : zeros;
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
        const auto lines = lines_of(c, c.in[row / g.out_height] + group * c.depth, row % g.out_height);
        to = look_up(c, lines, zeros, x, run, to);
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

// Row number `row` of all pictures' output.
void depthwise_row(const Convolution& c, const std::vector<const float*>& lines, const float* zeros, int64_t row) {
    const Geometry& g = c.geometry;
    std::vector<const float*> taps(g.out_width * c.taps);
    look_up(c, lines, zeros, 0, g.out_width, taps.data());
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

// Each channel by itself, at least PANEL of them. weight: [taps, channels], bias: [channels].
void convolve_depthwise(const Convolution& c) {
    const Geometry& g = c.geometry;
    const std::vector<float> zeros(c.in.channels);
#pragma omp parallel for
    for (int64_t row = 0; row < c.in.count * g.out_height; row++)
        depthwise_row(c, lines_of(c, c.in[row / g.out_height], row % g.out_height), zeros.data(), row);
}

// The rows that `expand` computes of one picture, of which the last `kept` are there.
class Rows {
  public:
    Rows(const Convolution& expand, const float* picture, int64_t kept)
        : row_(expand), picture_(picture), kept_(kept), size_(expand.in.width * expand.geometry.out_channels),
          floats_(kept * size_), zeros_(expand.depth) {
        row_.geometry.out_height = row_.in.count = row_.in.height = 1;
    }

    // Row `number`, after the rows before it from `first` on.
    const float* get(int64_t first, int64_t number) {
        for (next_ = std::max(next_, first); next_ <= number; next_++) {
            row_.in.data = picture_ + next_ * row_.in.width * row_.in.channels;
            row_.out = place(next_);
            block(row_, 0, 0, row_.in.width, zeros_.data());
        }
        return place(number);
    }

  private:
    float* place(int64_t number) { return floats_.data() + number % kept_ * size_; }

    Convolution row_;
    const float* picture_;
    int64_t kept_, size_, next_ = 0;
    std::vector<float> floats_, zeros_;
};

// Depthwise, of what `expand`, a convolution with one tap, gives: its rows are computed as they are needed, and are read
// from the second-level cache.
void convolve_expanded(const Convolution& expand, const Convolution& c) {
    const Geometry& g = c.geometry;
    const std::vector<float> zeros(c.in.channels);
    const int64_t reach = (g.kernel_height - 1) * g.dilation_y + 1;
    const int64_t parts = std::min<int64_t>(g.out_height, omp_get_max_threads());
#pragma omp parallel for collapse(2)
    for (int64_t number = 0; number < c.in.count; number++)
        for (int64_t part = 0; part < parts; part++) {
            Rows rows(expand, expand.in[number], reach);
            for (int64_t y = g.out_height * part / parts; y < g.out_height * (part + 1) / parts; y++) {
                std::vector<const float*> lines(g.kernel_height);
                const int64_t first = y * g.stride_y - g.top;
                for (int64_t i = 0; i < g.kernel_height; i++) {
                    const int64_t row = first + i * g.dilation_y;
                    if (row >= 0 && row < c.in.height) lines[i] = rows.get(std::max<int64_t>(first, 0), row);
                }
                depthwise_row(c, lines, zeros.data(), number * g.out_height + y);
            }
        }
}

template <typename T>
T* data_of(AtenTensorHandle tensor) {
    void* data = nullptr;
    return aoti_torch_get_data_ptr(tensor, &data) ? nullptr : static_cast<T*>(data);
}

// [count, height, width, channels] of a new tensor.
int32_t make(int64_t count, const Geometry& g, AtenTensorHandle* made) {
    const int64_t sizes[] = {count, g.out_height, g.out_width, g.out_channels};
    const int64_t strides[] = {sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1};
    return aoti_torch_empty_strided(4, sizes, strides, aoti_torch_dtype_float32(), aoti_torch_device_type_cpu(), 0, made);
}

struct Arguments {
    AtenTensorHandle weight, bias;
    const AtenTensorHandle* other;
    const int64_t* geometry;
    double low, high;
};

Convolution convolution_of(const Picture& in, const Arguments& a, float* out) {
    const Geometry& g = *reinterpret_cast<const Geometry*>(a.geometry);
    return {in,
            g,
            g.kernel_height * g.kernel_width,
            in.channels / g.groups,
            g.out_channels / g.groups,
            data_of<const float>(a.weight),
            data_of<const float>(a.bias),
            a.other ? data_of<const float>(*a.other) : nullptr,
            out,
            {splat(static_cast<float>(a.low)), splat(static_cast<float>(a.high))}};
}

Picture picture_of(AtenTensorHandle tensor) {
    int64_t* sizes = nullptr;
    aoti_torch_get_sizes(tensor, &sizes);
    return {data_of<const float>(tensor), sizes[0], sizes[1], sizes[2], sizes[3]};
}

int32_t run(void (*convolution)(const Convolution&), AtenTensorHandle picture, const Arguments& arguments, AtenTensorHandle* made) {
    const Picture in = picture_of(picture);
    if (const int32_t failed = make(in.count, *reinterpret_cast<const Geometry*>(arguments.geometry), made)) return failed;
    convolution(convolution_of(in, arguments, data_of<float>(*made)));
    return 0;
}

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

// What Inductor calls for the operators; `made` is a new reference.
EXPORTED int32_t aoti_torch_cpu_packed_convolution(AtenTensorHandle picture, AtenTensorHandle weight, AtenTensorHandle bias,
                                                   AtenTensorHandle* other, const int64_t* geometry, int64_t, double low,
                                                   double high, AtenTensorHandle* made) {
    return run(convolve, picture, {weight, bias, other, geometry, low, high}, made);
}

EXPORTED int32_t aoti_torch_cpu_packed_depthwise(AtenTensorHandle picture, AtenTensorHandle weight, AtenTensorHandle bias,
                                                 AtenTensorHandle* other, const int64_t* geometry, int64_t, double low,
                                                 double high, AtenTensorHandle* made) {
    return run(convolve_depthwise, picture, {weight, bias, other, geometry, low, high}, made);
}

EXPORTED int32_t aoti_torch_cpu_packed_expanded(AtenTensorHandle picture, AtenTensorHandle expand_weight,
                                                AtenTensorHandle expand_bias, const int64_t* expand_geometry, int64_t,
                                                double expand_low, double expand_high, AtenTensorHandle weight,
                                                AtenTensorHandle bias, AtenTensorHandle* other, const int64_t* geometry, int64_t,
                                                double low, double high, AtenTensorHandle* made) {
    const Picture in = picture_of(picture);
    const Geometry& between = *reinterpret_cast<const Geometry*>(expand_geometry);
    if (const int32_t failed = make(in.count, *reinterpret_cast<const Geometry*>(geometry), made)) return failed;
    const Convolution expand = convolution_of(in, {expand_weight, expand_bias, nullptr, expand_geometry, expand_low, expand_high}, nullptr);
    const Picture rows{nullptr, in.count, in.height, in.width, between.out_channels};
    convolve_expanded(expand, convolution_of(rows, {weight, bias, other, geometry, low, high}, data_of<float>(*made)));
    return 0;
}
