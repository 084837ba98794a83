// The inner loops between a decoder layer's products: norm, gate, softmax, rotary positions.
//
// Results may differ in the last bits between variants.
#include "bits.h"
#include "vectors.h"

namespace PRGE_VARIANT {
namespace {

using prge::bits_of;
using prge::float_of;

typedef int32_t Integers __attribute__((vector_size(PRGE_VECTOR_BYTES)));

// 2^n for whole n from -126 to 127.
inline float power_of_two(float n) { return float_of(static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23); }
inline Vector power_of_two(Vector n) { return (Vector)((__builtin_convertvector(n, Integers) + 127) << 23); }

// e^x for x <= 88, 0 below -87, of a number or of each value of a vector. The argument is reduced to
// [-ln 2 / 2, ln 2 / 2] with ln 2 in two parts (Cody and Waite), and the polynomial is the minimax one of degree 6 for
// that range; the error is about one unit in the last place.
template <typename Value>
inline Value exponential(Value x) {
  const Value lowest = Value{} - 87.0f, highest = Value{} + 88.0f;
  const Value bounded = x < lowest ? lowest : (x > highest ? highest : x);
  const Value shifted = bounded * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: rounds to a whole number
  const Value n = shifted - 12582912.0f;
  const Value r = (bounded - n * 0.693359375f) - n * -2.12194440e-4f;
  Value p = Value{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return x < lowest ? Value{} : p * power_of_two(n);
}

// Combines the values of a vector by halves: one by one, each would wait for the one before.
template <typename Whole, typename Combine>
inline float folded(Whole vector, Combine combine) {
  if constexpr (sizeof vector == 2 * sizeof(float)) {
    return combine(vector[0], vector[1]);
  } else {
    typedef float Half __attribute__((vector_size(sizeof vector / 2)));
    Half halves[2];
    __builtin_memcpy(halves, &vector, sizeof halves);
    return folded(combine(halves[0], halves[1]), combine);
  }
}

inline float sum(Vector vector) {
  return folded(vector, [](auto a, auto b) { return a + b; });
}

// The sum of term(x[0]), term(x[1]), ... term(x[count - 1]), where `term` takes numbers and vectors.
template <typename Term>
inline float sum_of(const float* x, int64_t count, Term term) {
  Vector sums[2] = {};  // two at a time hide the latency of an addition
  int64_t i = 0;
  for (; i + 2 * kVectorValues <= count; i += 2 * kVectorValues) {
    sums[0] += term(load(x + i));
    sums[1] += term(load(x + i + kVectorValues));
  }
  float rest = 0.0f;
  for (; i < count; ++i) rest += term(x[i]);
  return sum(sums[0] + sums[1]) + rest;
}

// gate = gate * sigmoid(slope(gate)) * up, where `slope` takes numbers and vectors.
template <typename Slope>
inline void apply_gate(float* gate, const float* up, int64_t count, Slope slope) {
  const auto gated = [slope](auto value, auto factor) { return value / (1.0f + exponential(-slope(value))) * factor; };
  int64_t i = 0;
  for (; i + kVectorValues <= count; i += kVectorValues) store(gate + i, gated(load(gate + i), load(up + i)));
  for (; i < count; ++i) gate[i] = gated(gate[i], up[i]);
}

}  // namespace

void normalize(const float* x, const float* weight, float epsilon, int64_t count, float* out) {
  const float squares = sum_of(x, count, [](auto value) { return value * value; });
  const float factor = 1.0f / __builtin_sqrtf(squares / static_cast<float>(count) + epsilon);
  for (int64_t i = 0; i < count; ++i) out[i] = x[i] * factor * weight[i];
}

void swiglu(float* gate, const float* up, int64_t count) {
  apply_gate(gate, up, count, [](auto value) { return value; });
}

void geglu(float* gate, const float* up, int64_t count) {
  apply_gate(gate, up, count, [](auto value) {
    return value * (prge::kGeluLinear + prge::kGeluCubic * (value * value));
  });
}

void softmax(float* scores, const float* bias, int64_t count) {
  const auto larger = [](auto a, auto b) { return a > b ? a : b; };
  // The values after the last whole vector get one of their own, in which e^x of the others is zero.
  const int64_t whole = count / kVectorValues * kVectorValues, rest = count - whole;
  Vector last = Vector{} - __FLT_MAX__;
  for (int64_t i = 0; i < rest; ++i) last[i] = scores[whole + i] + bias[whole + i];
  Vector most = last;
  for (int64_t i = 0; i < whole; i += kVectorValues) {
    const Vector biased = load(scores + i) + load(bias + i);
    store(scores + i, biased);
    most = larger(biased, most);
  }
  const float largest = folded(most, larger);
  Vector sums = {};
  if (rest > 0) sums = last = exponential(last - largest);
  for (int64_t i = 0; i < whole; i += kVectorValues) {
    const Vector raised = exponential(load(scores + i) - largest);
    store(scores + i, raised);
    sums += raised;
  }
  const float factor = 1.0f / sum(sums);
  for (int64_t i = 0; i < whole; i += kVectorValues) store(scores + i, load(scores + i) * factor);
  for (int64_t i = 0; i < rest; ++i) scores[whole + i] = last[i] * factor;
}

float sum_exponentials(const float* x, float shift, int64_t count) {
  return sum_of(x, count, [shift](auto value) { return exponential(value - shift); });
}

void rotate(const float* x, const float* cos, const float* sin, int64_t count, float* out) {
  const int64_t half = count / 2;
  for (int64_t i = 0; i < half; ++i) out[i] = x[i] * cos[i] + x[half + i] * sin[i];
  for (int64_t i = half; i < count; ++i) out[i] = x[i] * cos[i] + x[i - half] * sin[i];
}

void round_bfloat16(const float* values, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = bits_of(values[i]);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
    const bool number = (bits & 0x7fffffffu) <= 0x7f800000u;  // a NaN stays as it is
    out[i] = float_of(number ? rounded : bits);
  }
}

}  // namespace PRGE_VARIANT
