// Right-hand sides of products in panels: [count][panel width] each, as the inner loop reads them.
#pragma once

#include <cstdint>

#include "simd.h"

namespace prge {

// rows of x with `count` values each.
struct LeftSide {
  const float* x;
  int64_t stride;
  int64_t rows;
  int64_t count;
};

// Values of an operand as they are stored: float32 or, where `bfloat16`, that.
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
};

struct Result {
  float* y;
  int64_t stride;
  int64_t columns;
  bool accumulate;
};

// y = x * panels, or += ; `panel_depth` values of depth lie between the starts of two panels.
void multiply_panels(const SimdLoops& loops, const LeftSide& left, const float* panels, int64_t panel_depth,
                     const Result& result);

// One panel of the columns [0, columns) of matrix[count][stride]; columns from `columns` on become zero.
void pack_columns(const SimdLoops& loops, const Stored& matrix, int64_t stride, int64_t count, int64_t columns,
                  float* panel);

// One panel of the transpose: column j is row j of matrix[rows][stride], of which `count` values are taken.
void pack_rows(const SimdLoops& loops, const float* matrix, int64_t stride, int64_t count, int64_t rows, float* panel);

}  // namespace prge
