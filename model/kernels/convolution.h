// Convolutions and matrix products of float32, channels last, for compiled models that run without libtorch.
//
// A picture is [count, height, width, channels], and each output pixel is a sum over the taps of the kernel. The addresses
// of all its taps are looked up first: a row of zeros where a tap lies in the padding ("The Indirect Convolution Algorithm",
// arXiv:1907.02129). So one inner loop serves every kernel size, stride, padding and dilation; with one tap, it is the
// matrix product. operators.py packs the weights, and says the same in PyTorch.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace kindling {

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

// The input rows under the kernel for the output row `y`, as `line(row)` gives them; null where they lie in the padding.
template <typename Line>
std::vector<const float*> lines_of(const Convolution& c, int64_t y, Line line) {
    const Geometry& g = c.geometry;
    std::vector<const float*> lines(g.kernel_height);
    for (int64_t i = 0; i < g.kernel_height; i++) {
        const int64_t row = y * g.stride_y - g.top + i * g.dilation_y;
        if (row >= 0 && row < c.in.height) lines[i] = line(row);
    }
    return lines;
}

inline std::vector<const float*> lines_of(const Convolution& c, const float* picture, int64_t y) {
    return lines_of(c, y, [&](int64_t row) { return picture + row * c.in.width * c.in.channels; });
}

// The address of each tap of `pixels` output pixels of one row, from `x` on; `zeros` where it lies in the padding.
inline const float** look_up(const Convolution& c, const std::vector<const float*>& lines, const float* zeros, int64_t x,
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

// weight: [groups, panels, taps, depth, PANEL], bias: [groups, panels, PANEL], with zeros beyond the last channel.
void convolve(const Convolution& c);

// The same for one group of channels and the output pixels from `first` to `last`, counted through all pictures; a tap in
// the padding reads `zeros`.
void convolve_block(const Convolution& c, int64_t group, int64_t first, int64_t last, const float* zeros);

// Each channel by itself, at least PANEL of them. weight: [taps, channels], bias: [channels].
void convolve_depthwise(const Convolution& c);

// Depthwise, of what `expand`, a convolution with one tap, gives: its rows are computed as they are needed, and are read
// from the second-level cache.
void convolve_expanded(const Convolution& expand, const Convolution& c);

}  // namespace kindling
