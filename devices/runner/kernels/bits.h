// Numbers and their bits. Each source file has its own copies of the functions, as variants are compiled for different
// processors.
#pragma once

#include <cstdint>

namespace prge {

template <typename To, typename From>
static inline To of_same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "the types differ in size");
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

static inline uint32_t bits_of(float value) { return of_same_bits<uint32_t>(value); }
static inline uint64_t bits_of(double value) { return of_same_bits<uint64_t>(value); }
static inline float float_of(uint32_t bits) { return of_same_bits<float>(bits); }
static inline double double_of(uint64_t bits) { return of_same_bits<double>(bits); }

}  // namespace prge
