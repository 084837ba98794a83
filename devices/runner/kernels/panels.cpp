#include "panels.h"

#include <algorithm>
#include <cstring>

namespace prge {

void multiply_panels(const SimdLoops& loops, const LeftSide& left, const float* panels, int64_t panel_depth,
                     const Result& result) {
  for (int64_t row = 0; row < left.rows; row += loops.row_group) {
    const int64_t group = std::min(loops.row_group, left.rows - row);
    for (int64_t c = 0; c < result.columns; c += loops.panel_width) {
      loops.multiply(group, left.words, left.x + row * left.stride, left.stride, panels + c * panel_depth,
                     result.y + row * result.stride + c, result.stride,
                     std::min(loops.panel_width, result.columns - c), result.accumulate);
    }
  }
}

namespace {

void pack_pairs(const SimdLoops& loops, const Stored& matrix, int64_t stride, int64_t count, int64_t columns,
                float* panel) {
  const int64_t width = loops.panel_width, taken = std::min(columns, width);
  const auto* row = static_cast<const uint16_t*>(matrix.values);
  auto* word = reinterpret_cast<uint32_t*>(panel);
  for (int64_t k = 0; k < count; k += 2, row += 2 * stride, word += width) {
    if (k + 1 < count) {
      for (int64_t j = 0; j < taken; ++j) word[j] = row[j] | static_cast<uint32_t>(row[stride + j]) << 16;
    } else {
      for (int64_t j = 0; j < taken; ++j) word[j] = row[j];
    }
    std::fill(word + taken, word + width, 0u);
  }
}

}  // namespace

void pack_columns(const SimdLoops& loops, const Stored& matrix, int64_t stride, int64_t count, int64_t columns,
                  float* panel) {
  if (loops.word_values > 1) return pack_pairs(loops, matrix, stride, count, columns, panel);
  const int64_t width = loops.panel_width, taken = std::min(columns, width);
  for (int64_t k = 0; k < count; ++k) {
    const Stored row = matrix.from(k * stride);
    if (row.bfloat16) {
      for (int64_t j = 0; j < taken; ++j) panel[k * width + j] = row[j];
    } else {
      std::memcpy(panel + k * width, row.values, static_cast<size_t>(taken) * sizeof(float));
    }
    std::fill(panel + k * width + taken, panel + (k + 1) * width, 0.0f);
  }
}

void pack_rows(const SimdLoops& loops, const float* matrix, int64_t stride, int64_t count, int64_t rows, float* panel) {
  const int64_t width = loops.panel_width, taken = std::min(rows, width);
  for (int64_t k = 0; k < count; ++k) {
    for (int64_t j = 0; j < taken; ++j) panel[k * width + j] = matrix[j * stride + k];
    std::fill(panel + k * width + taken, panel + (k + 1) * width, 0.0f);
  }
}

}  // namespace prge
