// Scaled dot product attention: softmax(query key^T scale) value, for each head by itself.

#include "attention.h"

#include <limits>

#include "convolution.h"

namespace kindling {
namespace {

constexpr int64_t ROWS = 8 * TILE_PIXELS;
constexpr float INFINITE = std::numeric_limits<float>::infinity();

typedef int32_t Integers __attribute__((vector_size(4 * LANES)));

int64_t whole_panels(int64_t count) { return (count + PANEL - 1) / PANEL * PANEL; }

// As convolve_block reads them: panels of PANEL columns, zeros beyond the last one. Element (row, column) of the matrix
// is `from[row * row_step + column * column_step]`.
std::vector<float> packed(const float* from, int64_t rows, int64_t row_step, int64_t columns, int64_t column_step) {
    std::vector<float> to(whole_panels(columns) * rows);
    for (int64_t column = 0; column < columns; column++)
        for (int64_t row = 0; row < rows; row++)
            to[(column / PANEL * rows + row) * PANEL + column % PANEL] = from[row * row_step + column * column_step];
    return to;
}

struct Rows {
    float* data;
    int64_t count, step;
};

// out = in * weight, a packed matrix of `depth` by `width`: the convolution with one tap of a picture with one row.
void multiply(const float* in, int64_t in_step, const float* weight, int64_t depth, int64_t width, const Rows& out) {
    const Picture picture{in, 1, 1, out.count, in_step};
    const Geometry geometry{1, 1, 1, 1, 0, 0, 1, 1, 1, 1, out.count, out.step};
    const std::vector<float> zeros(whole_panels(width));
    const Bounds any{splat(-INFINITE), splat(INFINITE)};
    convolve_block({picture, geometry, 1, depth, width, weight, zeros.data(), nullptr, out.data, any}, 0, 0, out.count, nullptr);
}

// e^x for x <= 0, within two units in the last place; 1.2e-38 for all that gives less.
Vector exp(Vector x) {
    const Vector least = splat(-87.3365448f), round = splat(12582912.0f);  // 1.5 * 2^23: its last bits count in ones
    x = x < least ? least : x;
    const Vector shifted = x * splat(1.44269504f) + round, power = shifted - round;
    const Vector rest = x - power * splat(0.693359375f) + power * splat(2.12194440e-4f);  // ln 2 in two parts
    Vector sum = splat(1.9875691500e-4f);
    for (float factor : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        sum = sum * rest + splat(factor);
    sum = sum * rest * rest + rest + splat(1.0f);
    const Vector found = reinterpret_cast<Vector>(reinterpret_cast<Integers>(sum) + (reinterpret_cast<Integers>(shifted) << 23));
    return x == x ? found : x;  // NaN
}

// Turns scores into weights, whose sum is returned; the row has place up to a whole panel. A NaN makes the sum one, too.
float weigh(float* row, int64_t count, float scale) {
    const int64_t whole = whole_panels(count);
    std::fill(row + count, row + whole, -INFINITE);
    Vector largest = load(row);
    for (int64_t i = LANES; i < whole; i += LANES) {
        const Vector next = load(row + i);
        largest = next > largest ? next : largest;
    }
    float most = largest[0];
    for (int i = 1; i < LANES; i++) most = std::max(most, largest[i]);
    Vector sums = splat(0);
    for (int64_t i = 0; i < whole; i += LANES) {
        const Vector weight = exp((load(row + i) - splat(most)) * splat(scale));
        store(row + i, weight);
        sums += weight;
    }
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += sums[i];
    return sum;
}

void attend_with_head(const Attention& a, int64_t item, int64_t head) {
    const int64_t deep = a.heads * a.depth, wide = a.heads * a.width;
    const float* query = a.query + item * a.queries * deep + head * a.depth;
    const float* key = a.key + item * a.keys * deep + head * a.depth;
    const float* value = a.value + item * a.keys * wide + head * a.width;
    float* out = a.out + item * a.queries * wide + head * a.width;
    const auto keys = packed(key, a.depth, 1, a.keys, deep), values = packed(value, a.keys, wide, a.width, 1);
    std::vector<float> scores(ROWS * whole_panels(a.keys));
    for (int64_t first = 0; first < a.queries; first += ROWS) {
        const int64_t count = std::min(ROWS, a.queries - first);
        const Rows block{scores.data(), count, whole_panels(a.keys)}, told{out + first * wide, count, wide};
        multiply(query + first * deep, deep, keys.data(), a.depth, block.step, block);
        float sums[ROWS];
        for (int64_t row = 0; row < count; row++) sums[row] = weigh(block.data + row * block.step, a.keys, a.scale);
        multiply(block.data, block.step, values.data(), a.keys, a.width, told);
        for (int64_t row = 0; row < count; row++)
            for (int64_t i = 0; i < a.width; i++) told.data[row * wide + i] /= sums[row];
    }
}

}  // namespace

void attend(const Attention& a) {
#pragma omp parallel for collapse(2)
    for (int64_t item = 0; item < a.items; item++)
        for (int64_t head = 0; head < a.heads; head++) attend_with_head(a, item, head);
}

}  // namespace kindling
