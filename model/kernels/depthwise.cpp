// Convolutions of each channel by itself.

#include <omp.h>

#include "convolution.h"

namespace kindling {
namespace {

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
            convolve_block(row_, 0, 0, row_.in.width, zeros_.data());
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

}  // namespace

void convolve_depthwise(const Convolution& c) {
    const Geometry& g = c.geometry;
    const std::vector<float> zeros(c.in.channels);
#pragma omp parallel for
    for (int64_t row = 0; row < c.in.count * g.out_height; row++)
        depthwise_row(c, lines_of(c, c.in[row / g.out_height], row % g.out_height), zeros.data(), row);
}

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
                const int64_t first = std::max<int64_t>(y * g.stride_y - g.top, 0);
                const auto lines = lines_of(c, y, [&](int64_t row) { return rows.get(first, row); });
                depthwise_row(c, lines, zeros.data(), number * g.out_height + y);
            }
        }
}

}  // namespace kindling
