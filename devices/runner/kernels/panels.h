// Right-hand sides of products in panels: [words][panel width] each, as the inner loop reads them (simd.h).
#pragma once

#include <cstdint>

#include "simd.h"

namespace prge {

// Rows of x with `words` words each.
struct LeftSide {
  const float* x;
  int64_t stride;
  int64_t rows;
  int64_t words;
};

// An operand's values as they are stored: bfloat16 if `bfloat16`, else float32.
struct Stored {
  const void* values = nullptr;
  bool bfloat16 = false;

  Stored from(int64_t index) const {
    return {static_cast<const char*>(values) + index * (bfloat16 ? 2 : 4), bfloat16};
  }
  float operator[](int64_t index) const {
    if (!bfloat16) return static_cast<const float*>(values)[index];
    const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(values)[index]) << 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
  }
  // Word `index` of `count` values, with one or two values a word; if two, they are bfloat16.
  float word(int64_t index, int64_t word_values, int64_t count) const {
    if (word_values == 1) return (*this)[index];
    float word = 0.0f;
    __builtin_memcpy(&word, static_cast<const uint16_t*>(values) + 2 * index, 2 * index + 1 < count ? 4 : 2);
    return word;
  }
};

struct Result {
  float* y;
  int64_t stride;
  int64_t columns;
  bool accumulate;
};

// y = x * panels, or += ; each panel has room for `panel_depth` words of depth.
void multiply_panels(const SimdLoops& loops, const LeftSide& left, const float* panels, int64_t panel_depth,
                     const Result& result);

// One panel of the columns [0, columns) of matrix[count][stride]; columns from `columns` on become zero. For loops that
// multiply pairs the matrix must be bfloat16.
void pack_columns(const SimdLoops& loops, const Stored& matrix, int64_t stride, int64_t count, int64_t columns,
                  float* panel);

// One panel of the transpose: column j has the first `count` values of row j of matrix[rows][stride].
void pack_rows(const SimdLoops& loops, const float* matrix, int64_t stride, int64_t count, int64_t rows, float* panel);

}  // namespace prge
