// Products of float32 rows with a float16 matrix, summed in float32.
#pragma once

#include <cstdint>

#include "simd.h"

namespace prge {

// y[rows][out_features] = x[rows][in_features] * weight[out_features][in_features]^T, on all threads of the pool.
// `weight` holds float16. False when a thread's buffer can't be had.
bool linear_half(const SimdLoops& loops, const float* x, int64_t rows, const uint16_t* weight, int64_t out_features,
                 int64_t in_features, float* y);

}  // namespace prge
