// Products of float16 matrices as processors with fp16 arithmetic compute them: one fused multiply-add after the other,
// k = 0, 1, 2, ..., each rounded to float16. XNNPACK's float16 kernels sum in this order on every such processor (NEON,
// AVX512-FP16), whatever the tile. Built and called by products.py.
//
// A float32 multiply-add followed by rounding to float16 rounds twice, which changes one sum in several thousand.
#include <cstdint>

#if defined(__F16C__) && defined(__FMA__)
#include <immintrin.h>

typedef __m256 Lanes;
static inline Lanes zeros() { return _mm256_setzero_ps(); }
static inline Lanes load(const float* from) { return _mm256_loadu_ps(from); }
static inline void store(float* to, Lanes value) { _mm256_storeu_ps(to, value); }
static inline Lanes add_product(Lanes sum, float x, Lanes weights) {
  const Lanes exact = _mm256_fmadd_ps(_mm256_set1_ps(x), weights, sum);
  return _mm256_cvtph_ps(_mm256_cvtps_ph(exact, _MM_FROUND_TO_NEAREST_INT));
}
#else
#if defined(__aarch64__)
typedef __fp16 Half;
#else
typedef _Float16 Half;
#endif
struct Lanes {
  float value[8];
};
static inline Lanes zeros() { return {}; }
static inline Lanes load(const float* from) {
  Lanes lanes;
  for (int i = 0; i < 8; ++i) lanes.value[i] = from[i];
  return lanes;
}
static inline void store(float* to, const Lanes& lanes) {
  for (int i = 0; i < 8; ++i) to[i] = lanes.value[i];
}
static inline Lanes add_product(const Lanes& sum, float x, const Lanes& weights) {
  Lanes rounded;
  for (int i = 0; i < 8; ++i) {
    rounded.value[i] = static_cast<float>(static_cast<Half>(x * weights.value[i] + sum.value[i]));
  }
  return rounded;
}
#endif

constexpr int64_t kColumns = 16;
constexpr int64_t kRows = 4;

// y[rows][columns] = x[rows][depth] * panels, where panels[columns / 16][depth][16] holds the right-hand side. All are
// float32 with values of float16; columns are a multiple of 16.
extern "C" void half_product(const float* x, const float* panels, float* y, int64_t rows, int64_t columns,
                             int64_t depth) {
  for (int64_t c = 0; c < columns; c += kColumns) {
    const float* panel = panels + c * depth;
    for (int64_t r = 0; r < rows; r += kRows) {
      const int64_t count = rows - r < kRows ? rows - r : kRows;
      const float* from[kRows];
      Lanes sums[kRows][2];
      for (int64_t i = 0; i < kRows; ++i) {
        from[i] = x + (r + (i < count ? i : 0)) * depth;
        sums[i][0] = sums[i][1] = zeros();
      }
      for (int64_t k = 0; k < depth; ++k) {
        const Lanes left = load(panel + k * kColumns), right = load(panel + k * kColumns + 8);
        for (int64_t i = 0; i < kRows; ++i) {
          sums[i][0] = add_product(sums[i][0], from[i][k], left);
          sums[i][1] = add_product(sums[i][1], from[i][k], right);
        }
      }
      for (int64_t i = 0; i < count; ++i) {
        store(y + (r + i) * columns + c, sums[i][0]);
        store(y + (r + i) * columns + c + 8, sums[i][1]);
      }
    }
  }
}
