// The inner loops of y = x * W^T: a panel of columns of W^T, which decode_loops.cpp has decoded, times rows of x.
//
// A row group times a panel stays in registers while the panel streams from the cache; the build picks the shape for
// each instruction set (see variant.h). Results may differ in the last bits between variants.
#include "simd.h"
#include "variant.h"

namespace PRGE_VARIANT {
namespace {

typedef float Vector __attribute__((vector_size(PRGE_VECTOR_BYTES), aligned(4)));

constexpr int kVectorValues = PRGE_VECTOR_BYTES / 4;
constexpr int kVectors = PRGE_PANEL_VECTORS;
constexpr int kWidth = kVectors * kVectorValues;
constexpr int kRows = PRGE_ROW_GROUP;

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

// With the first `Vectors` vectors of a panel.
template <int Rows, int Vectors>
void multiply_rows(int64_t count, const float* x, int64_t x_stride, const float* panel, float* y, int64_t y_stride,
                   int64_t columns, bool accumulate) {
  constexpr int kColumns = Vectors * kVectorValues;
  Vector sums[Rows][Vectors] = {};
  for (int64_t k = 0; k < count; ++k) {
    Vector weights[Vectors];
    for (int v = 0; v < Vectors; ++v) weights[v] = load(panel + k * kWidth + v * kVectorValues);
#pragma GCC unroll 16
    for (int row = 0; row < Rows; ++row) {
      const float value = x[row * x_stride + k];
      for (int v = 0; v < Vectors; ++v) sums[row][v] += value * weights[v];
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < Rows; ++row) {
    float* to = y + row * y_stride;
    if (columns == kColumns) {
      for (int v = 0; v < Vectors; ++v) {
        Vector total = sums[row][v];
        if (accumulate) total += load(to + v * kVectorValues);
        store(to + v * kVectorValues, total);
      }
    } else {
      float edge[kColumns];
      for (int v = 0; v < Vectors; ++v) store(edge + v * kVectorValues, sums[row][v]);
      for (int64_t j = 0; j < columns; ++j) to[j] = accumulate ? to[j] + edge[j] : edge[j];
    }
  }
}

template <int Rows, int Vectors>
void multiply_rest(int64_t rows, int64_t count, const float* x, int64_t x_stride, const float* panel, float* y,
                   int64_t y_stride, int64_t columns, bool accumulate) {
  if constexpr (Rows > 0) {
    if (rows == Rows) {
      multiply_rows<Rows, Vectors>(count, x, x_stride, panel, y, y_stride, columns, accumulate);
    } else {
      multiply_rest<Rows - 1, Vectors>(rows, count, x, x_stride, panel, y, y_stride, columns, accumulate);
    }
  }
}

template <int Vectors>
void multiply_columns(int64_t rows, int64_t count, const float* x, int64_t x_stride, const float* panel, float* y,
                      int64_t y_stride, int64_t columns, bool accumulate) {
  for (; rows >= kRows; rows -= kRows, x += kRows * x_stride, y += kRows * y_stride) {
    multiply_rows<kRows, Vectors>(count, x, x_stride, panel, y, y_stride, columns, accumulate);
  }
  multiply_rest<kRows - 1, Vectors>(rows, count, x, x_stride, panel, y, y_stride, columns, accumulate);
}

}  // namespace

extern const int64_t panel_width = kWidth;
extern const int64_t row_group = kRows;

void multiply(int64_t rows, int64_t count, const float* x, int64_t x_stride, const float* panel, float* y,
              int64_t y_stride, int64_t columns, bool accumulate) {
  // Half a panel is what an adapter of rank 16 has.
  const auto multiply_some = columns <= kVectorValues ? multiply_columns<1> : multiply_columns<kVectors>;
  multiply_some(rows, count, x, x_stride, panel, y, y_stride, columns, accumulate);
}

}  // namespace PRGE_VARIANT
