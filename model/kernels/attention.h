// Scaled dot product attention of float32, for compiled models that run without libtorch.

#pragma once

#include <cstdint>

namespace kindling {

// query: [items, queries, heads, depth], key: [items, keys, heads, depth], value: [items, keys, heads, width],
// out: [items, queries, heads, width]; `scale` is positive.
struct Attention {
    int64_t items, heads, queries, keys, depth, width;
    const float *query, *key, *value;
    float scale;
    float* out;
};

void attend(const Attention& a);

}  // namespace kindling
