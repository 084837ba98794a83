// Updates weights as they are stored, float32 or float16, with stochastic rounding (docs/contracts.md, "Noise of
// weights"): in float64, with -ffp-contract=off, so that the bits are the same in every variant.
#include "bits.h"
#include "variant.h"

namespace PRGE_VARIANT {
namespace {

using prge::bits_of;
using prge::double_of;

// A type with `kDigits` stored binary digits. Values with the stored exponent e are 2^(e + kShift - 1023) apart;
// subnormal ones as if e were 1.
template <typename WordType, int digits, int exponents>
struct Stored {
  using Word = WordType;
  static constexpr int kDigits = digits;
  static constexpr int kExponents = exponents;  // bits of the exponent
  static constexpr int64_t kShift = 1023 - ((1 << (exponents - 1)) - 1) - digits;
  static constexpr Word kSign = Word(1) << (digits + exponents);
  static constexpr int64_t kInfinity = int64_t((1 << exponents) - 1) << digits;
};
using Half = Stored<uint16_t, 10, 5>;
using Single = Stored<uint32_t, 23, 8>;

template <typename Type>
inline double widened(typename Type::Word word) {
  const int64_t magnitude = word & (Type::kSign - 1), exponent = magnitude >> Type::kDigits;
  const int32_t digits = static_cast<int32_t>(magnitude & ((1 << Type::kDigits) - 1));
  const int32_t steps = exponent > 0 ? digits + (1 << Type::kDigits) : digits;
  const double spacing = double_of(static_cast<uint64_t>((exponent > 0 ? exponent : 1) + Type::kShift) << 52);
  const double value = steps * spacing;
  return word & Type::kSign ? -value : value;
}

// One of the two neighbours of x in the type: the larger in magnitude if `share`, between 0 and 1, is less than how far
// x lies from the smaller, as a fraction of their distance. Values that are too large, and NaN, become infinite.
template <typename Type>
inline typename Type::Word rounded(double x, float share) {
  const uint64_t bits = bits_of(x);
  const int64_t least = 1 + Type::kShift + Type::kDigits, found = static_cast<int64_t>(bits >> 52 & 0x7ff);
  const int64_t exponent = found > least ? found : least;
  const double inverse = double_of(static_cast<uint64_t>(2046 - (exponent - Type::kDigits)) << 52);
  const double steps = double_of(bits & 0x7fffffffffffffffu) * inverse;  // below 2^(kDigits + 1)
  const int32_t whole = found < 0x7ff ? static_cast<int32_t>(steps) : 0;
  const int64_t up = static_cast<double>(share) < steps - whole ? 1 : 0;
  const int64_t magnitude = ((exponent - least) << Type::kDigits) + whole + up;
  const int64_t bounded = magnitude < Type::kInfinity && found < 0x7ff ? magnitude : Type::kInfinity;
  return static_cast<typename Type::Word>(bounded) | (bits >> 63 ? Type::kSign : typename Type::Word(0));
}

template <typename Type>
inline void move(const float* noise, const float* shares, float rate, int64_t count, typename Type::Word* weights) {
  for (int64_t i = 0; i < count; ++i) {
    const double moved = widened<Type>(weights[i]) - static_cast<double>(rate) * static_cast<double>(noise[i]);
    weights[i] = rounded<Type>(moved, shares[i]);
  }
}

}  // namespace

void move_single(const float* noise, const float* shares, float rate, int64_t count, uint32_t* weights) {
  move<Single>(noise, shares, rate, count, weights);
}

void move_half(const float* noise, const float* shares, float rate, int64_t count, uint16_t* weights) {
  move<Half>(noise, shares, rate, count, weights);
}

}  // namespace PRGE_VARIANT
