// Decodes a part of a frozen matrix into a panel, one decoder for each form.
//
// Compiled without fused multiply-add: a value is rounded as in the definition of its form, so that its bits are the
// same in every variant.
#if defined(__AVX2__)
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns about its own <avx512fintrin.h>
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "bits.h"
#include "nf4.h"
#include "simd.h"
#include "variant.h"

namespace PRGE_VARIANT {
namespace {

using prge::float_of;
using prge::FrozenMatrix;

constexpr int kWidth = PRGE_PANEL_VECTORS * PRGE_VECTOR_BYTES / 4;

#if defined(__AVX512F__)
// The codes' values fit in one register, where a code is the number of its value's lane.
inline void look_up(const uint32_t* words, int shift, const float* scales, float* to) {
  const __m512 values = _mm512_loadu_ps(prge::kNf4Values);
  for (int j = 0; j < kWidth; j += 16) {
    const __m512i codes = _mm512_srl_epi32(_mm512_loadu_si512(words + j), _mm_cvtsi32_si128(shift));
    const __m512 found = _mm512_permutexvar_ps(codes, values);  // uses only the lowest four bits
    _mm512_storeu_ps(to + j, _mm512_mul_ps(found, _mm512_loadu_ps(scales + j)));
  }
}
#elif defined(__AVX2__)
// As above with two registers of eight values, between which a code's highest bit selects.
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
#elif defined(__aarch64__)
// Four registers are a table of 64 bytes, with the four bytes of a value side by side.
inline void look_up(const uint32_t* words, int shift, const float* scales, float* to) {
  const uint8x16x4_t values = vld1q_u8_x4(reinterpret_cast<const uint8_t*>(prge::kNf4Values));
  const uint32x4_t first_bytes = vdupq_n_u32(0x03020100u);
  for (int j = 0; j < kWidth; j += 4) {
    const uint32x4_t codes = vandq_u32(vshlq_u32(vld1q_u32(words + j), vdupq_n_s32(-shift)), vdupq_n_u32(15u));
    const uint32x4_t bytes = vmlaq_n_u32(first_bytes, codes, 0x04040404u);
    const float32x4_t found = vreinterpretq_f32_u8(vqtbl4q_u8(values, vreinterpretq_u8_u32(bytes)));
    vst1q_f32(to + j, vmulq_f32(found, vld1q_f32(scales + j)));
  }
}
#else
inline void look_up(const uint32_t* words, int shift, const float* scales, float* to) {
  for (int j = 0; j < kWidth; ++j) to[j] = prge::kNf4Values[(words[j] >> shift) & 15u] * scales[j];
}
#endif

// A float16's bits in the place of a float32's are its value times 2^-112, also for subnormal ones.
inline float widened(uint32_t half) {
  const float scaled = float_of((half & 0x7fffu) << 13);
  const float value = (half & 0x7c00u) == 0x7c00u ? scaled * 0x1p127f * 0x1p127f : scaled * 0x1p112f;
  return half & 0x8000u ? -value : value;
}

// Widens the float16 in the low (place 0) or high half of each word.
#if defined(__AVX512F__)
inline void widen(const uint32_t* words, int place, float* to) {
  for (int j = 0; j < kWidth; j += 16) {
    const __m512i low = _mm512_srl_epi32(_mm512_loadu_si512(words + j), _mm_cvtsi32_si128(16 * place));
    _mm512_storeu_ps(to + j, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(low)));
  }
}
#elif defined(__F16C__) && defined(__AVX2__)
inline void widen(const uint32_t* words, int place, float* to) {
  for (int j = 0; j < kWidth; j += 8) {
    const __m256i word = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + j));
    const __m256i low = _mm256_and_si256(_mm256_srl_epi32(word, _mm_cvtsi32_si128(16 * place)),
                                         _mm256_set1_epi32(0xffff));
    constexpr int kFirstOfBoth = 0x08;  // packing repeats the four halves of each lane
    const __m256i halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), kFirstOfBoth);
    _mm256_storeu_ps(to + j, _mm256_cvtph_ps(_mm256_castsi256_si128(halves)));
  }
}
#elif defined(__aarch64__)
inline void widen(const uint32_t* words, int place, float* to) {
  for (int j = 0; j < kWidth; j += 4) {
    const uint16x4_t low = vmovn_u32(vshlq_u32(vld1q_u32(words + j), vdupq_n_s32(-16 * place)));
    vst1q_f32(to + j, vcvt_f32_f16(vreinterpret_f16_u16(low)));
  }
}
#else
inline void widen(const uint32_t* words, int place, float* to) {
  for (int j = 0; j < kWidth; ++j) to[j] = widened(words[j] >> (16 * place) & 0xffffu);
}
#endif

constexpr int kWords = 4;

// Transposes kWords words of each of four rows, `stride` bytes apart, into to[kWords][kWidth].
#if defined(__SSE2__)
inline void interleave(const uint8_t* from, int64_t stride, uint32_t* to) {
  __m128i rows[4];
  for (int i = 0; i < 4; ++i) rows[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * stride));
  const __m128i low[2] = {_mm_unpacklo_epi32(rows[0], rows[1]), _mm_unpacklo_epi32(rows[2], rows[3])};
  const __m128i high[2] = {_mm_unpackhi_epi32(rows[0], rows[1]), _mm_unpackhi_epi32(rows[2], rows[3])};
  const __m128i words[kWords] = {_mm_unpacklo_epi64(low[0], low[1]), _mm_unpackhi_epi64(low[0], low[1]),
                                 _mm_unpacklo_epi64(high[0], high[1]), _mm_unpackhi_epi64(high[0], high[1])};
  for (int i = 0; i < kWords; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i * kWidth), words[i]);
}
#elif defined(__aarch64__)
inline void interleave(const uint8_t* from, int64_t stride, uint32_t* to) {
  uint32x4_t rows[4];
  for (int i = 0; i < 4; ++i) rows[i] = vreinterpretq_u32_u8(vld1q_u8(from + i * stride));
  const auto pair = [](uint32x4_t a, uint32x4_t b) { return vreinterpretq_u64_u32(vtrn1q_u32(a, b)); };
  const auto other_pair = [](uint32x4_t a, uint32x4_t b) { return vreinterpretq_u64_u32(vtrn2q_u32(a, b)); };
  const uint64x2_t even[2] = {pair(rows[0], rows[1]), pair(rows[2], rows[3])};  // words 0 and 2 of two rows
  const uint64x2_t odd[2] = {other_pair(rows[0], rows[1]), other_pair(rows[2], rows[3])};
  vst1q_u32(to, vreinterpretq_u32_u64(vtrn1q_u64(even[0], even[1])));
  vst1q_u32(to + kWidth, vreinterpretq_u32_u64(vtrn1q_u64(odd[0], odd[1])));
  vst1q_u32(to + 2 * kWidth, vreinterpretq_u32_u64(vtrn2q_u64(even[0], even[1])));
  vst1q_u32(to + 3 * kWidth, vreinterpretq_u32_u64(vtrn2q_u64(odd[0], odd[1])));
}
#else
inline void interleave(const uint8_t* from, int64_t stride, uint32_t* to) {
  for (int i = 0; i < kWords; ++i) {
    for (int j = 0; j < 4; ++j) __builtin_memcpy(to + i * kWidth + j, from + j * stride + i * 4, 4);
  }
}
#endif

#if defined(__AVX512F__)
// The same for a square of kSquare words each way, so that a row's cache line is read at once.
constexpr int kSquare = 16;
// Bytes ahead: two cache lines. The processor does not prefetch so many rows by itself.
constexpr int kAhead = 128;
inline void transpose(const uint8_t* from, int64_t stride, uint32_t* to) {
  __m512i quads[kSquare];  // of words 4 * lane + i of rows r to r + 3, at r + i
  for (int r = 0; r < kSquare; r += 4) {
    __m512i rows[4];
    for (int i = 0; i < 4; ++i) {
      const uint8_t* row = from + (r + i) * stride;
      rows[i] = _mm512_loadu_si512(row);
      _mm_prefetch(reinterpret_cast<const char*>(row + kAhead), _MM_HINT_T0);
    }
    const __m512i low[2] = {_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpacklo_epi32(rows[2], rows[3])};
    const __m512i high[2] = {_mm512_unpackhi_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[2], rows[3])};
    quads[r] = _mm512_unpacklo_epi64(low[0], low[1]);
    quads[r + 1] = _mm512_unpackhi_epi64(low[0], low[1]);
    quads[r + 2] = _mm512_unpacklo_epi64(high[0], high[1]);
    quads[r + 3] = _mm512_unpackhi_epi64(high[0], high[1]);
  }
  constexpr int kEven = 0x88, kOdd = 0xdd;  // lanes 0 and 2, or 1 and 3, of both
  for (int i = 0; i < 4; ++i) {
    const __m512i even[2] = {_mm512_shuffle_i32x4(quads[i], quads[4 + i], kEven),
                             _mm512_shuffle_i32x4(quads[8 + i], quads[12 + i], kEven)};
    const __m512i odd[2] = {_mm512_shuffle_i32x4(quads[i], quads[4 + i], kOdd),
                            _mm512_shuffle_i32x4(quads[8 + i], quads[12 + i], kOdd)};
    _mm512_storeu_si512(to + i * kWidth, _mm512_shuffle_i32x4(even[0], even[1], kEven));
    _mm512_storeu_si512(to + (4 + i) * kWidth, _mm512_shuffle_i32x4(odd[0], odd[1], kEven));
    _mm512_storeu_si512(to + (8 + i) * kWidth, _mm512_shuffle_i32x4(even[0], even[1], kOdd));
    _mm512_storeu_si512(to + (12 + i) * kWidth, _mm512_shuffle_i32x4(odd[0], odd[1], kOdd));
  }
}
#else
constexpr int kSquare = kWords;
inline void transpose(const uint8_t* from, int64_t stride, uint32_t* to) { interleave(from, stride, to); }
#endif

// A word of four bytes holds kValues values of a row. A form defines which words can be read whole, the scale of a
// word's values, where in a row that changes, and how to expand the values at one place in the words of a panel's rows.
struct Nf4 {
  static constexpr int kValues = 8;
  static bool whole(int64_t in_features, int64_t first) { return in_features % 8 == 0 && first % 8 == 0; }
  static float scale(const FrozenMatrix& weight, int64_t /*row*/, int64_t index) {
    return weight.scales[index / prge::kNf4BlockValues];
  }
  static bool rescales(const FrozenMatrix& weight, int64_t column) {
    return weight.in_features % prge::kNf4BlockValues != 0 || column % prge::kNf4BlockValues == 0;
  }
  static void expand(const uint32_t* words, int place, const float* scales, float* to) {
    // Bytes are in the order of their addresses, and the high nibble comes first.
    static constexpr int kShifts[kValues] = {4, 0, 12, 8, 20, 16, 28, 24};
    look_up(words, kShifts[place], scales, to);
  }
  static float value(const FrozenMatrix& weight, int64_t index, float scale) {
    const uint8_t byte = static_cast<const uint8_t*>(weight.values)[index / 2];
    return prge::kNf4Values[index % 2 == 0 ? byte >> 4 : byte & 15u] * scale;
  }
};

struct Nf4Double : Nf4 {
  static float scale(const FrozenMatrix& weight, int64_t /*row*/, int64_t index) {
    return prge::expanded_absmax(weight, index / prge::kNf4BlockValues);
  }
};

struct Int8 {
  static constexpr int kValues = 4;
  static bool whole(int64_t, int64_t) { return true; }
  static float scale(const FrozenMatrix& weight, int64_t row, int64_t /*index*/) { return weight.scales[row]; }
  static bool rescales(const FrozenMatrix&, int64_t) { return false; }
  static void expand(const uint32_t* words, int place, const float* scales, float* to) {
    for (int j = 0; j < kWidth; ++j) {
      to[j] = static_cast<float>(static_cast<int32_t>(words[j] << (24 - 8 * place)) >> 24) * scales[j];
    }
  }
  static float value(const FrozenMatrix& weight, int64_t index, float scale) {
    return static_cast<float>(static_cast<const int8_t*>(weight.values)[index]) * scale;
  }
};

// Two values a word, which need no scale.
struct Halves {
  static constexpr int kValues = 2;
  static bool whole(int64_t, int64_t) { return true; }
  static float scale(const FrozenMatrix&, int64_t, int64_t) { return 1.0f; }
  static bool rescales(const FrozenMatrix&, int64_t) { return false; }
};

struct Float16 : Halves {
  static void expand(const uint32_t* words, int place, const float* /*scales*/, float* to) { widen(words, place, to); }
  static float value(const FrozenMatrix& weight, int64_t index, float /*scale*/) {
    return widened(static_cast<const uint16_t*>(weight.values)[index]);
  }
};

struct Bfloat16 : Halves {
  static void expand(const uint32_t* words, int place, const float* /*scales*/, float* to) {
    for (int j = 0; j < kWidth; ++j) to[j] = float_of(place == 0 ? words[j] << 16 : words[j] & 0xffff0000u);
  }
  static float value(const FrozenMatrix& weight, int64_t index, float /*scale*/) {
    return float_of(static_cast<uint32_t>(static_cast<const uint16_t*>(weight.values)[index]) << 16);
  }
};

template <typename Layout>
void decode_words(const FrozenMatrix& weight, int64_t row, int64_t rows, int64_t first, int64_t count, float* panel) {
  const int64_t in_features = weight.in_features;
  const auto* bytes = static_cast<const uint8_t*>(weight.values);
  int64_t k = 0;
  if (Layout::whole(in_features, first)) {
    alignas(64) uint32_t words[kSquare * kWidth] = {};
    alignas(64) float scales[kWidth] = {};
    const int64_t stride = in_features * 4 / Layout::kValues;
    const int64_t whole = count / Layout::kValues * Layout::kValues;
    while (k < whole) {
      const uint8_t* from = bytes + (row * in_features + first + k) * 4 / Layout::kValues;
      const int64_t left = (whole - k) / Layout::kValues;
      const int64_t taken = left >= kSquare ? kSquare : left >= kWords ? kWords : 1;
      int64_t j = 0;
      for (; taken == kSquare && j + kSquare <= rows; j += kSquare) transpose(from + j * stride, stride, words + j);
      for (; taken == kWords && j + 4 <= rows; j += 4) interleave(from + j * stride, stride, words + j);
      for (; j < rows; ++j) {
        for (int64_t i = 0; i < taken; ++i) __builtin_memcpy(&words[i * kWidth + j], from + j * stride + i * 4, 4);
      }
      for (int64_t i = 0; i < taken; ++i, k += Layout::kValues) {
        if (k == 0 || Layout::rescales(weight, first + k)) {
          for (int64_t each = 0; each < rows; ++each) {
            scales[each] = Layout::scale(weight, row + each, (row + each) * in_features + first + k);
          }
        }
        for (int place = 0; place < Layout::kValues; ++place) {
          Layout::expand(words + i * kWidth, place, scales, panel + (k + place) * kWidth);
        }
      }
    }
  }
  for (; k < count; ++k) {
    for (int64_t j = 0; j < kWidth; ++j) {
      const int64_t index = (row + j) * in_features + first + k;
      panel[k * kWidth + j] =
          j < rows ? Layout::value(weight, index, Layout::scale(weight, row + j, index)) : 0.0f;
    }
  }
}

// A row's words become the panel's words unchanged. A word holds one value of four bytes, or two of two.
void copy_words(const FrozenMatrix& weight, int64_t row, int64_t rows, int64_t first, int64_t count, int64_t value_bytes,
                float* panel) {
  const int64_t stride = weight.in_features * value_bytes, bytes = count * value_bytes;
  const int64_t whole = rows / kSquare * kSquare;
  const auto* from = static_cast<const uint8_t*>(weight.values) + row * stride + first * value_bytes;
  auto* words = reinterpret_cast<uint32_t*>(panel);
  const auto copy = [&](int64_t k, int64_t j) {
    uint32_t word = 0;
    if (j < rows) __builtin_memcpy(&word, from + j * stride + k * 4, bytes - k * 4 < 4 ? 2 : 4);
    words[k * kWidth + j] = word;
  };
  int64_t k = 0;
  for (; k + kSquare <= bytes / 4; k += kSquare) {
    for (int64_t j = 0; j < whole; j += kSquare) transpose(from + j * stride + k * 4, stride, words + k * kWidth + j);
    for (int64_t i = k; i < k + kSquare; ++i) {
      for (int64_t j = whole; j < kWidth; ++j) copy(i, j);
    }
  }
  for (; k < (bytes + 3) / 4; ++k) {
    for (int64_t j = 0; j < kWidth; ++j) copy(k, j);
  }
}

}  // namespace

void decode(const FrozenMatrix& weight, int64_t row, int64_t rows, int64_t first, int64_t count, float* panel) {
  rows = rows < kWidth ? rows : kWidth;
  switch (weight.form) {
    case prge::Form::float32: return copy_words(weight, row, rows, first, count, sizeof(float), panel);
    case prge::Form::float16: return decode_words<Float16>(weight, row, rows, first, count, panel);
    case prge::Form::bfloat16: return decode_words<Bfloat16>(weight, row, rows, first, count, panel);
    case prge::Form::int8: return decode_words<Int8>(weight, row, rows, first, count, panel);
    case prge::Form::nf4: return decode_words<Nf4>(weight, row, rows, first, count, panel);
    case prge::Form::nf4_double: return decode_words<Nf4Double>(weight, row, rows, first, count, panel);
  }
}

void decode_pairs(const FrozenMatrix& weight, int64_t row, int64_t rows, int64_t first, int64_t count, float* panel) {
  copy_words(weight, row, rows < kWidth ? rows : kWidth, first, count, sizeof(uint16_t), panel);
}

}  // namespace PRGE_VARIANT
