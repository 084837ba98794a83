// The inner loops between a decoder layer's products: norm, gate, softmax, rotary positions.
//
// Written so that the compiler vectorizes them. Results may differ in the last bits between variants.
#include "bits.h"
#include "variant.h"

namespace PRGE_VARIANT {
namespace {

using prge::bits_of;
using prge::float_of;

constexpr int kVectorValues = PRGE_VECTOR_BYTES / 4;
constexpr int kLanes = 2 * kVectorValues;  // two sums at a time hide the latency of an addition

// e^x for x <= 88, 0 below -87. The argument is reduced to [-ln 2 / 2, ln 2 / 2] with ln 2 in two parts (Cody and
// Waite), and the polynomial is the minimax one of degree 6 for that range; the error is about one unit in the last
// place.
inline float exponential(float x) {
  const float bounded = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  const float shifted = bounded * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: rounds to a whole number
  const float n = shifted - 12582912.0f;
  const float r = (bounded - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float value = p * float_of(static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23);
  return x < -87.0f ? 0.0f : value;
}

// Combines the lanes by halves: one by one, each would wait for the one before.
template <typename Combine>
inline float folded(float (&lanes)[kLanes], Combine combine) {
#pragma GCC unroll 8
  for (int width = kLanes / 2; width > 0; width /= 2) {
#pragma GCC unroll 32
    for (int lane = 0; lane < width; ++lane) lanes[lane] = combine(lanes[lane], lanes[lane + width]);
  }
  return lanes[0];
}

// The sum of f(0), f(1), ... f(count - 1), lane by lane.
template <typename Term>
inline float sum_of(int64_t count, Term term) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  float rest = 0.0f;
  for (; i < count; ++i) rest += term(i);
  return folded(lanes, [](float a, float b) { return a + b; }) + rest;
}

}  // namespace

void normalize(const float* x, const float* weight, float epsilon, int64_t count, float* out) {
  const float squares = sum_of(count, [x](int64_t i) { return x[i] * x[i]; });
  const float factor = 1.0f / __builtin_sqrtf(squares / static_cast<float>(count) + epsilon);
  for (int64_t i = 0; i < count; ++i) out[i] = x[i] * factor * weight[i];
}

void swiglu(float* gate, const float* up, int64_t count) {
  for (int64_t i = 0; i < count; ++i) gate[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
}

void geglu(float* gate, const float* up, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float slope = gate[i] * (prge::kGeluLinear + prge::kGeluCubic * (gate[i] * gate[i]));
    gate[i] = gate[i] / (1.0f + exponential(-slope)) * up[i];
  }
}

void softmax(float* scores, const float* bias, int64_t count) {
  const auto larger = [](float a, float b) { return a > b ? a : b; };
  // The largest, by lanes: since some scores could be NaN, the compiler would compare them one by one.
  float lanes[kLanes];
  for (float& lane : lanes) lane = scores[0] + bias[0];
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      scores[i + lane] += bias[i + lane];
      lanes[lane] = larger(scores[i + lane], lanes[lane]);
    }
  }
  for (; i < count; ++i) {
    scores[i] += bias[i];
    lanes[0] = larger(scores[i], lanes[0]);
  }
  const float largest = folded(lanes, larger);
  for (i = 0; i < count; ++i) scores[i] = exponential(scores[i] - largest);
  const float factor = 1.0f / sum_of(count, [scores](int64_t k) { return scores[k]; });
  for (i = 0; i < count; ++i) scores[i] *= factor;
}

float sum_exponentials(const float* x, float shift, int64_t count) {
  return sum_of(count, [x, shift](int64_t i) { return exponential(x[i] - shift); });
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
