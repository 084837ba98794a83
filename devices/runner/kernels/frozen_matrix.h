// Frozen matrices in the forms in which settings store them (docs/contracts.md, "Operators of our own").
#pragma once

#include <cstddef>
#include <cstdint>

namespace prge {

enum class Form { float32, float16, bfloat16, int8, nf4, nf4_double };

struct WeightNoise;

// Rows of values or codes, one after the other, with what the form needs to decode them.
struct FrozenMatrix {
  Form form = Form::float32;
  // nf4: two codes a byte, the first in the high nibble.
  const void* values = nullptr;
  // int8: one per row. nf4: the absmax of every 64 values of the flattened matrix. nf4_double: the factor of every 256
  // consecutive absmax codes.
  const float* scales = nullptr;
  const uint8_t* absmax_codes = nullptr;  // nf4_double: one per absmax
  float absmax_offset = 0.0f;             // nf4_double: added to each absmax
  int64_t out_features = 0;
  int64_t in_features = 0;
  int projection = 7;  // the projection whose time its products take; 7 is kNoProjection of part_times.h
  const WeightNoise* noise = nullptr;  // added to each value, if the matrix is perturbed (weight_noise.h)
};

// Bits of a value.
constexpr int64_t bits_of(Form form) {
  return form == Form::float32 ? 32 : form == Form::float16 || form == Form::bfloat16 ? 16 : form == Form::int8 ? 8 : 4;
}

}  // namespace prge
