// The product with a weight matrix that stays packed to four bits.
#pragma once

#include <cstdint>

#include "simd.h"

namespace prge {

struct Nf4Matrix {
  const uint8_t* packed;  // two codes a byte, the first in the high nibble, rows one after the other
  const float* absmax;    // one for every 64 values of the flattened matrix
  int64_t out_features;
  int64_t in_features;
};

// y[rows][out_features] = x[rows][in_features] * decoded(weight)^T, on all threads of the pool. Each thread decodes
// one tile of the weight at a time into a buffer of its own (at most 256 KiB). False when that buffer can't be had.
bool linear_nf4(const SimdLoops& loops, const float* x, int64_t rows, const Nf4Matrix& weight, float* y);

}  // namespace prge
