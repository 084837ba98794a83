#include "peak_loops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>

#if defined(__x86_64__)
#include <immintrin.h>
#define PEAK_TARGET(features_) __attribute__((target(features_)))
#define PEAK_HIDE(value_) asm volatile("" : "+v"(value_))
#elif defined(__aarch64__)
#include <arm_neon.h>
#define PEAK_TARGET(features_) __attribute__((target(features_)))
#define PEAK_HIDE(value_) asm volatile("" : "+w"(value_))
#else
#define PEAK_TARGET(features_)
#define PEAK_HIDE(value_) asm volatile("" : "+m"(value_))
#endif

namespace runner {
namespace {

// Both factors of a product; the product is 1/4, or 6 for whole numbers.
constexpr float kFactor = 0.5f;
constexpr uint16_t kHalfFactor = 0x3800;
constexpr uint16_t kBrainFactor = 0x3f00;
constexpr int kLeftWhole = 2, kRightWhole = 3;
constexpr double kProduct = kFactor * kFactor, kWholeProduct = kLeftWhole * kRightWhole;

constexpr int64_t kRounds = 1 << 16;
constexpr int64_t kHalfRounds = 1 << 11;  // a sum in float16 is exact up to 2048 products

// Fills a vector through memory: a function that takes or returns vectors must be compiled for their instructions.
template <typename Vector, typename Element>
void fill(Vector& vector, Element element) {
  Element elements[sizeof(Vector) / sizeof(Element)];
  std::fill(std::begin(elements), std::end(elements), element);
  // Hidden, since a compiler may build the constant with an instruction of another set.
  asm volatile("" : : "r"(elements) : "memory");
  std::memcpy(&vector, elements, sizeof vector);
}

// The number of products in the sums of some vectors, which are contiguous in memory.
template <typename Lane>
int64_t products_in(const void* sums, size_t bytes, double product) {
  double total = 0.0;
  const auto* from = static_cast<const unsigned char*>(sums);
  for (size_t at = 0; at < bytes; at += sizeof(Lane)) {
    Lane lane;
    std::memcpy(&lane, from + at, sizeof lane);
    total += static_cast<double>(lane);
  }
  return std::llround(total / product);
}

// A loop over chains of multiply-adds that don't wait for each other. The compiler can neither precompute hidden values
// nor merge those that are equal. Sums stay in registers, as nothing takes their address.
#define PEAK_LOOP(name_, target_, chains_, Operand_, Sum_, Lane_, left_, right_, product_, multiply_add_) \
  PEAK_TARGET(target_) int64_t name_(int64_t rounds) {                                                    \
    Operand_ factors[2];                                                                                  \
    fill(factors[0], left_);                                                                              \
    fill(factors[1], right_);                                                                             \
    Operand_ left = factors[0], right = factors[1];                                                       \
    Sum_ results[chains_];                                                                                \
    std::memset(results, 0, sizeof results);                                                              \
    Sum_ sums[chains_];                                                                                   \
    _Pragma("GCC unroll 32") for (int chain = 0; chain < chains_; ++chain) {                              \
      sums[chain] = results[chain];                                                                       \
      PEAK_HIDE(sums[chain]);                                                                             \
    }                                                                                                     \
    for (int64_t round = 0; round < rounds; ++round) {                                                    \
      PEAK_HIDE(left);                                                                                    \
      PEAK_HIDE(right);                                                                                   \
      _Pragma("GCC unroll 32") for (int chain = 0; chain < chains_; ++chain) {                            \
        const Sum_ sum = sums[chain];                                                                     \
        sums[chain] = multiply_add_;                                                                      \
      }                                                                                                   \
    }                                                                                                     \
    _Pragma("GCC unroll 32") for (int chain = 0; chain < chains_; ++chain) results[chain] = sums[chain];  \
    return products_in<Lane_>(results, sizeof results, product_);                                         \
  }

// Passes over memory in vectors of `bytes_`.
#define MEMORY_LOOPS(name_, target_, bytes_)                                                                  \
  typedef float name_##_vector __attribute__((vector_size(bytes_), aligned(4)));                              \
  PEAK_TARGET(target_) float name_##_read(const float* from, int64_t count) {                                 \
    constexpr int kValues = bytes_ / 4, kChains = 8;                                                          \
    name_##_vector sums[kChains] = {};                                                                        \
    for (int64_t at = 0; at < count; at += kChains * kValues) {                                               \
      _Pragma("GCC unroll 8") for (int chain = 0; chain < kChains; ++chain) {                                 \
        sums[chain] += *reinterpret_cast<const name_##_vector*>(from + at + chain * kValues);                 \
      }                                                                                                       \
    }                                                                                                         \
    float total = 0.0f;                                                                                       \
    for (const name_##_vector& sum : sums) {                                                                  \
      for (int value = 0; value < kValues; ++value) total += sum[value];                                      \
    }                                                                                                         \
    return total;                                                                                             \
  }                                                                                                           \
  PEAK_TARGET(target_) void name_##_copy(const float* from, float* to, int64_t count) {                       \
    constexpr int kValues = bytes_ / 4;                                                                       \
    _Pragma("GCC unroll 4") for (int64_t at = 0; at < count; at += kValues) {                                 \
      name_##_vector value = *reinterpret_cast<const name_##_vector*>(from + at);                             \
      PEAK_HIDE(value); /* or this would become a call of memcpy, whose stores may bypass the caches */       \
      *reinterpret_cast<name_##_vector*>(to + at) = value;                                                    \
    }                                                                                                         \
  }                                                                                                           \
  PEAK_TARGET(target_) void name_##_triad(const float* from, const float* and_from, float* to, int64_t count) { \
    constexpr int kValues = bytes_ / 4;                                                                       \
    _Pragma("GCC unroll 4") for (int64_t at = 0; at < count; at += kValues) {                                 \
      *reinterpret_cast<name_##_vector*>(to + at) =                                                           \
          *reinterpret_cast<const name_##_vector*>(from + at) +                                               \
          0.5f * *reinterpret_cast<const name_##_vector*>(and_from + at);                                     \
    }                                                                                                         \
  }                                                                                                           \
  constexpr MemoryLoops name_##_loops{name_##_read, name_##_copy, name_##_triad};

#if defined(__x86_64__)

PEAK_LOOP(float32_avx512, "avx512f", 16, __m512, __m512, float, kFactor, kFactor, kProduct,
          _mm512_fmadd_ps(left, right, sum))
PEAK_LOOP(float32_avx2, "avx2,fma", 12, __m256, __m256, float, kFactor, kFactor, kProduct,
          _mm256_fmadd_ps(left, right, sum))
PEAK_LOOP(float32_sse2, "sse2", 12, __m128, __m128, float, kFactor, kFactor, kProduct,
          _mm_add_ps(sum, _mm_mul_ps(left, right)))
// Without dot-product instructions, XNNPACK widens codes to 16 bits and adds pairs.
PEAK_LOOP(int8_avx512, "avx512f,avx512bw", 16, __m512i, __m512i, int32_t, int16_t{kLeftWhole}, int16_t{kRightWhole},
          kWholeProduct, _mm512_add_epi32(sum, _mm512_madd_epi16(left, right)))
PEAK_LOOP(int8_avx2, "avx2", 12, __m256i, __m256i, int32_t, int16_t{kLeftWhole}, int16_t{kRightWhole}, kWholeProduct,
          _mm256_add_epi32(sum, _mm256_madd_epi16(left, right)))
PEAK_LOOP(int8_sse2, "sse2", 12, __m128i, __m128i, int32_t, int16_t{kLeftWhole}, int16_t{kRightWhole}, kWholeProduct,
          _mm_add_epi32(sum, _mm_madd_epi16(left, right)))
PEAK_LOOP(int8_avx512_vnni, "avx512f,avx512vnni", 16, __m512i, __m512i, int32_t, int8_t{kLeftWhole},
          int8_t{kRightWhole}, kWholeProduct, _mm512_dpbusd_epi32(sum, left, right))
MEMORY_LOOPS(avx512, "avx512f", 64)
MEMORY_LOOPS(avx2, "avx2,fma", 32)
MEMORY_LOOPS(base, "sse2", 16)

#if (defined(__clang__) && __clang_major__ >= 14) || (!defined(__clang__) && __GNUC__ >= 12)
#define PEAK_NEW_SETS
PEAK_LOOP(int8_avx_vnni, "avx2,avxvnni", 12, __m256i, __m256i, int32_t, int8_t{kLeftWhole}, int8_t{kRightWhole},
          kWholeProduct, _mm256_dpbusd_avx_epi32(sum, left, right))
PEAK_LOOP(bfloat16_avx512, "avx512f,avx512bf16", 16, __m512bh, __m512, float, kBrainFactor, kBrainFactor, kProduct,
          _mm512_dpbf16_ps(sum, left, right))
PEAK_LOOP(float16_avx512, "avx512fp16", 16, __m512h, __m512h, _Float16, kHalfFactor, kHalfFactor, kProduct,
          _mm512_fmadd_ph(left, right, sum))
#endif

const ComputeLoop kFloat32[] = {{"float32", "avx512f", float32_avx512, 16 * 16, kRounds},
                                {"float32", "fma", float32_avx2, 12 * 8, kRounds},
                                {"float32", "sse2", float32_sse2, 12 * 4, kRounds}};
const ComputeLoop kInt8[] = {{"int8", "avx512_vnni", int8_avx512_vnni, 16 * 64, kRounds},
#ifdef PEAK_NEW_SETS
                             {"int8", "avx_vnni", int8_avx_vnni, 12 * 32, kRounds},
#endif
                             {"int8", "avx512bw", int8_avx512, 16 * 32, kRounds},
                             {"int8", "avx2", int8_avx2, 12 * 16, kRounds},
                             {"int8", "sse2", int8_sse2, 12 * 8, kRounds}};
#ifdef PEAK_NEW_SETS
const ComputeLoop kNarrow[] = {{"float16", "avx512_fp16", float16_avx512, 16 * 32, kHalfRounds},
                               {"bfloat16", "avx512_bf16", bfloat16_avx512, 16 * 32, kRounds}};
#endif
constexpr const char* kBase = "sse2";

#elif defined(__aarch64__)

PEAK_LOOP(float32_neon, "+simd", 16, float32x4_t, float32x4_t, float, kFactor, kFactor, kProduct,
          vfmaq_f32(sum, left, right))
PEAK_LOOP(int8_neon, "+simd", 16, int16x4_t, int32x4_t, int32_t, int16_t{kLeftWhole}, int16_t{kRightWhole},
          kWholeProduct, vmlal_s16(sum, left, right))
PEAK_LOOP(int8_dotprod, "arch=armv8.2-a+dotprod", 16, int8x16_t, int32x4_t, int32_t, int8_t{kLeftWhole},
          int8_t{kRightWhole}, kWholeProduct, vdotq_s32(sum, left, right))
PEAK_LOOP(int8_i8mm, "arch=armv8.2-a+i8mm", 16, int8x16_t, int32x4_t, int32_t, int8_t{kLeftWhole},
          int8_t{kRightWhole}, kWholeProduct, vmmlaq_s32(sum, left, right))
PEAK_LOOP(float16_neon, "arch=armv8.2-a+fp16", 16, float16x8_t, float16x8_t, __fp16, kHalfFactor, kHalfFactor,
          kProduct, vfmaq_f16(sum, left, right))
PEAK_LOOP(bfloat16_neon, "arch=armv8.2-a+bf16", 16, bfloat16x8_t, float32x4_t, float, kBrainFactor, kBrainFactor,
          kProduct, vbfmmlaq_f32(sum, left, right))
MEMORY_LOOPS(base, "+simd", 16)

const ComputeLoop kFloat32[] = {{"float32", "asimd", float32_neon, 16 * 4, kRounds}};
const ComputeLoop kInt8[] = {{"int8", "i8mm", int8_i8mm, 16 * 32, kRounds},
                             {"int8", "asimddp", int8_dotprod, 16 * 16, kRounds},
                             {"int8", "asimd", int8_neon, 16 * 4, kRounds}};
#define PEAK_NEW_SETS
const ComputeLoop kNarrow[] = {{"float16", "asimdhp", float16_neon, 16 * 8, kHalfRounds},
                               {"bfloat16", "bf16", bfloat16_neon, 16 * 16, kRounds}};
constexpr const char* kBase = "asimd";

#else

PEAK_LOOP(float32_scalar, "", 4, float, float, float, kFactor, kFactor, kProduct, sum + left * right)
PEAK_LOOP(int8_scalar, "", 4, int32_t, int32_t, int32_t, int32_t{kLeftWhole}, int32_t{kRightWhole}, kWholeProduct,
          sum + left * right)
MEMORY_LOOPS(base, "", 16)

const ComputeLoop kFloat32[] = {{"float32", "scalar", float32_scalar, 4, kRounds}};
const ComputeLoop kInt8[] = {{"int8", "scalar", int8_scalar, 4, kRounds}};
constexpr const char* kBase = "scalar";

#endif

bool has(const std::vector<std::string>& features, const char* name) {
  return std::find(features.begin(), features.end(), name) != features.end();
}

}  // namespace

std::vector<ComputeLoop> compute_loops(const std::vector<std::string>& features) {
  const auto runs = [&](const ComputeLoop& loop) {
    return std::strcmp(loop.instructions, kBase) == 0 || has(features, loop.instructions);
  };
  std::vector<ComputeLoop> found{*std::find_if(std::begin(kFloat32), std::end(kFloat32), runs)};
#ifdef PEAK_NEW_SETS
  std::copy_if(std::begin(kNarrow), std::end(kNarrow), std::back_inserter(found), runs);
#endif
  found.push_back(*std::find_if(std::begin(kInt8), std::end(kInt8), runs));
  return found;
}

MemoryLoops memory_loops([[maybe_unused]] const std::vector<std::string>& features) {
#if defined(__x86_64__)
  if (has(features, "avx512f")) return avx512_loops;
  if (has(features, "avx2") && has(features, "fma")) return avx2_loops;
#endif
  return base_loops;
}

}  // namespace runner
