// How operators take the noise of a weight from their arguments.
#pragma once

#include "noise.h"
#include "operator_checks.h"
#include "weight_noise.h"

namespace prge {

// Whether this can be a slot, the number of a matrix or vector.
bool is_slot(int64_t slot);

// Gives a matrix of float32 or float16 the noise sign * eps * noise(key, slot), which is kept in `noise`. False if the
// arguments don't fit.
bool take_noise(const Tensor& key, const Tensor& eps, int64_t slot, int64_t sign, FrozenMatrix& matrix,
                WeightNoise& noise);

}  // namespace prge
