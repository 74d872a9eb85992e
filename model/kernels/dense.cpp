// Convolutions of all channels by all, and of groups.

#include <array>
#include <utility>

#include "convolution.h"

namespace kindling {
namespace {

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

}  // namespace

void convolve_block(const Convolution& c, int64_t group, int64_t first, int64_t last, const float* zeros) {
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
            convolve_block(c, group, number * size, std::min(pixels, (number + 1) * size), zeros.data());
}

}  // namespace kindling
