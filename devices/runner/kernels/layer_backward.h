// The way back through a decoder layer with frozen weights: its vector-Jacobian product, by its input and by each B.
// What the layer computed on the way forward is computed again from its input.
#pragma once

#include <cstdint>

#include "decoder_layer.h"

namespace prge {

// Values of scratch memory that `layer_backward` needs, of one slice.
int64_t backward_scratch_values(const LayerShape& shape);

// out = the gradient by x, from `gradient`, that by the layer's result, both [rows][hidden]; `out` may be `gradient`.
// of_b[projection] [rank][out_features] = the gradient by its B, where it has one. Gradients and their sums are float32;
// values that the layer rounds on the way forward are rounded here too, as if that had the derivative 1. False when a
// thread's buffer can't be had; then the results are undefined.
bool layer_backward(const SimdLoops& loops, const DecoderLayer& layer, const float* x, const float* bias,
                    const float* gradient, float* scratch, float* const* of_b, float* out);

}  // namespace prge
