// The inner loops of y = x * W^T, W packed to four bits or float16: a panel of columns is decoded, then multiplied with
// rows of x.
//
// A row group times a panel stays in registers while the panel streams from the cache; the build picks the shape for
// each instruction set (see variant.h). Results may differ in the last bits between variants.
#if defined(__AVX2__)
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 says it of its own <avx512fintrin.h>
#endif
#include <immintrin.h>
#endif

#include "nf4.h"
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

template <int Rows>
void multiply_rows(int64_t count, const float* x, int64_t x_stride, const float* panel, float* y, int64_t y_stride,
                   int64_t columns, bool accumulate) {
  Vector sums[Rows][kVectors] = {};
  for (int64_t k = 0; k < count; ++k) {
    Vector weights[kVectors];
    for (int v = 0; v < kVectors; ++v) weights[v] = load(panel + k * kWidth + v * kVectorValues);
#pragma GCC unroll 16
    for (int row = 0; row < Rows; ++row) {
      const float value = x[row * x_stride + k];
      for (int v = 0; v < kVectors; ++v) sums[row][v] += value * weights[v];
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < Rows; ++row) {
    float* to = y + row * y_stride;
    if (columns == kWidth) {
      for (int v = 0; v < kVectors; ++v) {
        Vector total = sums[row][v];
        if (accumulate) total += load(to + v * kVectorValues);
        store(to + v * kVectorValues, total);
      }
    } else {
      float edge[kWidth];
      for (int v = 0; v < kVectors; ++v) store(edge + v * kVectorValues, sums[row][v]);
      for (int64_t j = 0; j < columns; ++j) to[j] = accumulate ? to[j] + edge[j] : edge[j];
    }
  }
}

template <int Rows>
void multiply_rest(int64_t rows, int64_t count, const float* x, int64_t x_stride, const float* panel, float* y,
                   int64_t y_stride, int64_t columns, bool accumulate) {
  if constexpr (Rows > 0) {
    if (rows == Rows) {
      multiply_rows<Rows>(count, x, x_stride, panel, y, y_stride, columns, accumulate);
    } else {
      multiply_rest<Rows - 1>(rows, count, x, x_stride, panel, y, y_stride, columns, accumulate);
    }
  }
}

inline float value_at(const uint8_t* packed, const float* absmax, int64_t index) {
  const uint8_t byte = packed[index / 2];
  const unsigned code = index % 2 == 0 ? byte >> 4 : byte & 15u;
  return prge::kNf4Values[code] * absmax[index / prge::kNf4BlockValues];
}

#if defined(__AVX512F__)
// The codes' values lie in one register, and a code is the number of its lane.
inline void look_up(const uint32_t* words, int shift, const float* scales, float* to) {
  const __m512 values = _mm512_loadu_ps(prge::kNf4Values);
  for (int j = 0; j < kWidth; j += 16) {
    const __m512i codes = _mm512_srl_epi32(_mm512_loadu_si512(words + j), _mm_cvtsi32_si128(shift));
    const __m512 found = _mm512_permutexvar_ps(codes, values);  // looks at the lowest four bits alone
    _mm512_storeu_ps(to + j, _mm512_mul_ps(found, _mm512_loadu_ps(scales + j)));
  }
}
#elif defined(__AVX2__)
// As above with two registers of eight values, between which a code's highest bit chooses.
inline void look_up(const uint32_t* words, int shift, const float* scales, float* to) {
  const __m256 low = _mm256_loadu_ps(prge::kNf4Values), high = _mm256_loadu_ps(prge::kNf4Values + 8);
  for (int j = 0; j < kWidth; j += 8) {
    const __m256i word = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + j));
    const __m256i codes = _mm256_srl_epi32(word, _mm_cvtsi32_si128(shift));
    const __m256 found = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, codes), _mm256_permutevar8x32_ps(high, codes),
                                          _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)));
    _mm256_storeu_ps(to + j, _mm256_mul_ps(found, _mm256_loadu_ps(scales + j)));
  }
}
#else
inline void look_up(const uint32_t* words, int shift, const float* scales, float* to) {
  for (int j = 0; j < kWidth; ++j) to[j] = prge::kNf4Values[(words[j] >> shift) & 15u] * scales[j];
}
#endif

#if defined(__F16C__)
inline void widen_eight(const uint16_t* from, float* to) {
  _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
#elif defined(__aarch64__)
inline void widen_eight(const uint16_t* from, float* to) {
  for (int i = 0; i < 8; ++i) to[i] = static_cast<float>(reinterpret_cast<const __fp16*>(from)[i]);
}
#else
// The bits of a float16 in a float32's place are its value times 2^-112, subnormal ones included.
inline void widen_eight(const uint16_t* from, float* to) {
  for (int i = 0; i < 8; ++i) {
    const uint32_t bits = (from[i] & 0x7fffu) << 13;
    float value;
    __builtin_memcpy(&value, &bits, sizeof(value));
    value = (from[i] & 0x7c00u) == 0x7c00u ? value * 0x1p127f * 0x1p127f : value * 0x1p112f;
    to[i] = from[i] & 0x8000u ? -value : value;
  }
}
#endif

// Eight columns of a panel, from the four bytes that hold them in each row; all of a row's eight share one absmax.
inline void decode_eight(const uint32_t* words, const float* scales, float* panel) {
  // Bytes lie in order of address and the high nibble comes first.
  static constexpr int kShifts[8] = {4, 0, 12, 8, 20, 16, 28, 24};
  for (int t = 0; t < 8; ++t) look_up(words, kShifts[t], scales, panel + t * kWidth);
}

}  // namespace

extern const int64_t panel_width = kWidth;
extern const int64_t row_group = kRows;

void decode(const uint8_t* packed, const float* absmax, int64_t rows, int64_t in_features, int64_t row, int64_t first,
            int64_t count, float* panel) {
  rows = rows < kWidth ? rows : kWidth;
  int64_t k = 0;
  if (in_features % 8 == 0 && first % 8 == 0) {
    alignas(64) uint32_t words[kWidth] = {};
    alignas(64) float scales[kWidth] = {};
    for (; k + 8 <= count; k += 8) {
      for (int64_t j = 0; j < rows; ++j) {
        const int64_t index = (row + j) * in_features + first + k;
        __builtin_memcpy(&words[j], packed + index / 2, 4);
        scales[j] = absmax[index / prge::kNf4BlockValues];
      }
      decode_eight(words, scales, panel + k * kWidth);
    }
  }
  for (; k < count; ++k) {
    for (int64_t j = 0; j < kWidth; ++j) {
      panel[k * kWidth + j] = j < rows ? value_at(packed, absmax, (row + j) * in_features + first + k) : 0.0f;
    }
  }
}

void decode_half(const uint16_t* weights, int64_t rows, int64_t in_features, int64_t first, int64_t count,
                 float* panel) {
  rows = rows < kWidth ? rows : kWidth;
  for (int64_t j = 0; j < kWidth; ++j) {
    const uint16_t* row = weights + j * in_features + first;
    int64_t k = 0;
    for (; j < rows && k + 8 <= count; k += 8) {
      float values[8];
      widen_eight(row + k, values);
      for (int64_t i = 0; i < 8; ++i) panel[(k + i) * kWidth + j] = values[i];
    }
    uint16_t rest[8] = {};
    if (j < rows) __builtin_memcpy(rest, row + k, static_cast<size_t>(count - k) * sizeof(uint16_t));
    float values[8];
    widen_eight(rest, values);
    for (int64_t i = k; i < count; ++i) panel[i * kWidth + j] = j < rows ? values[i - k] : 0.0f;
  }
}

void multiply(int64_t rows, int64_t count, const float* x, int64_t x_stride, const float* panel, float* y,
              int64_t y_stride, int64_t columns, bool accumulate) {
  for (; rows >= kRows; rows -= kRows, x += kRows * x_stride, y += kRows * y_stride) {
    multiply_rows<kRows>(count, x, x_stride, panel, y, y_stride, columns, accumulate);
  }
  multiply_rest<kRows - 1>(rows, count, x, x_stride, panel, y, y_stride, columns, accumulate);
}

}  // namespace PRGE_VARIANT
