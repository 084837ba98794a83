// The inner loops of y = x * W^T: a panel of columns of W^T, which decode_loops.cpp has decoded, times rows of x.
//
// A row group times a panel stays in registers while the panel streams from the cache; the build picks the shape for
// each instruction set (see variant.h). Results may differ in the last bits between variants.
//
// With PRGE_PAIRS, operands are words of two bfloat16, and the processor's own instructions for these add both products
// of a word to a float32 sum.
#if defined(PRGE_PAIRS) && defined(__x86_64__)
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns about its own <avx512fintrin.h>
#endif
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "simd.h"
#include "vectors.h"

namespace PRGE_VARIANT {
namespace {

constexpr int kVectors = PRGE_PANEL_VECTORS;
constexpr int kWidth = kVectors * kVectorValues;
constexpr int kRows = PRGE_ROW_GROUP;

#if !defined(PRGE_PAIRS)
inline Vector multiply_add(Vector sum, float x, Vector weights) { return sum + x * weights; }
#elif defined(__x86_64__)
inline Vector multiply_add(Vector sum, float x, Vector weights) {
  return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_ps(x), (__m512bh)weights);
}

inline void round_vectors(const float* from, float* to) {
  const __m512bh words = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + kVectorValues), _mm512_loadu_ps(from));
  _mm512_storeu_si512(to, (__m512i)words);
}
#else
inline Vector multiply_add(Vector sum, float x, Vector weights) {
  return vbfdotq_f32(sum, (bfloat16x8_t)vdupq_n_f32(x), (bfloat16x8_t)weights);
}

inline void round_vectors(const float* from, float* to) {
  const bfloat16x8_t low = vcvtq_low_bf16_f32(vld1q_f32(from));
  vst1q_f32(to, (float32x4_t)vcvtq_high_bf16_f32(low, vld1q_f32(from + kVectorValues)));
}
#endif

#if defined(__aarch64__)
// On aarch64, instructions multiply by a lane of a register: one load brings a row's words for kLanes steps.
constexpr int kLanes = 4;

template <int Lane>
inline Vector multiply_add_lane(Vector sum, Vector x, Vector weights) {
#if defined(PRGE_PAIRS)
  return vbfdotq_laneq_f32(sum, (bfloat16x8_t)weights, (bfloat16x8_t)x, Lane);
#else
  return vfmaq_laneq_f32(sum, weights, x, Lane);
#endif
}

template <int Lane, int Rows, int Vectors>
inline void add_lane(const Vector (&x)[Rows], const float* panel, Vector (&sums)[Rows][Vectors]) {
  Vector weights[Vectors];
  for (int v = 0; v < Vectors; ++v) weights[v] = load(panel + Lane * kWidth + v * kVectorValues);
#pragma GCC unroll 16
  for (int row = 0; row < Rows; ++row) {
    for (int v = 0; v < Vectors; ++v) sums[row][v] = multiply_add_lane<Lane>(sums[row][v], x[row], weights[v]);
  }
}

// Adds the products of the words that fill whole loads. Returns their number.
template <int Rows, int Vectors>
inline int64_t add_whole_loads(int64_t words, const float* x, int64_t x_stride, const float* panel,
                               Vector (&sums)[Rows][Vectors]) {
  int64_t k = 0;
  for (; k + kLanes <= words; k += kLanes) {
    Vector values[Rows];
#pragma GCC unroll 16
    for (int row = 0; row < Rows; ++row) values[row] = load(x + row * x_stride + k);
    add_lane<0>(values, panel + k * kWidth, sums);
    add_lane<1>(values, panel + k * kWidth, sums);
    add_lane<2>(values, panel + k * kWidth, sums);
    add_lane<3>(values, panel + k * kWidth, sums);
  }
  return k;
}
#else
template <int Rows, int Vectors>
inline int64_t add_whole_loads(int64_t, const float*, int64_t, const float*, Vector (&)[Rows][Vectors]) {
  return 0;
}
#endif

// Multiplies with the first `Vectors` vectors of a panel.
template <int Rows, int Vectors>
void multiply_rows(int64_t words, const float* x, int64_t x_stride, const float* panel, float* y, int64_t y_stride,
                   int64_t columns, bool accumulate) {
  constexpr int kColumns = Vectors * kVectorValues;
  Vector sums[Rows][Vectors] = {};
  for (int64_t k = add_whole_loads(words, x, x_stride, panel, sums); k < words; ++k) {
    Vector weights[Vectors];
    for (int v = 0; v < Vectors; ++v) weights[v] = load(panel + k * kWidth + v * kVectorValues);
#pragma GCC unroll 16
    for (int row = 0; row < Rows; ++row) {
      const float value = x[row * x_stride + k];
      for (int v = 0; v < Vectors; ++v) sums[row][v] = multiply_add(sums[row][v], value, weights[v]);
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
void multiply_rest(int64_t rows, int64_t words, const float* x, int64_t x_stride, const float* panel, float* y,
                   int64_t y_stride, int64_t columns, bool accumulate) {
  if constexpr (Rows > 0) {
    if (rows == Rows) {
      multiply_rows<Rows, Vectors>(words, x, x_stride, panel, y, y_stride, columns, accumulate);
    } else {
      multiply_rest<Rows - 1, Vectors>(rows, words, x, x_stride, panel, y, y_stride, columns, accumulate);
    }
  }
}

template <int Vectors>
void multiply_columns(int64_t rows, int64_t words, const float* x, int64_t x_stride, const float* panel, float* y,
                      int64_t y_stride, int64_t columns, bool accumulate) {
  for (; rows >= kRows; rows -= kRows, x += kRows * x_stride, y += kRows * y_stride) {
    multiply_rows<kRows, Vectors>(words, x, x_stride, panel, y, y_stride, columns, accumulate);
  }
  multiply_rest<kRows - 1, Vectors>(rows, words, x, x_stride, panel, y, y_stride, columns, accumulate);
}

}  // namespace

#if !defined(PRGE_PAIRS)
extern const int64_t panel_width = kWidth;
extern const int64_t row_group = kRows;
#else
void round_bfloat16(const float* values, int64_t count, float* out) {
  constexpr int64_t kTaken = 2 * kVectorValues;
  int64_t i = 0;
  for (; i + kTaken <= count; i += kTaken) round_vectors(values + i, out + i / 2);
  if (i == count) return;
  float rest[kTaken] = {}, words[kVectorValues];
  __builtin_memcpy(rest, values + i, static_cast<size_t>(count - i) * sizeof(float));
  round_vectors(rest, words);
  __builtin_memcpy(out + i / 2, words, static_cast<size_t>(count - i + 1) / 2 * sizeof(float));
}
#endif

void multiply(int64_t rows, int64_t words, const float* x, int64_t x_stride, const float* panel, float* y,
              int64_t y_stride, int64_t columns, bool accumulate) {
  // An adapter of rank 16 fills only half of an AVX-512 panel.
  const auto multiply_some = columns <= kVectorValues ? multiply_columns<1> : multiply_columns<kVectors>;
  multiply_some(rows, words, x, x_stride, panel, y, y_stride, columns, accumulate);
}

}  // namespace PRGE_VARIANT
