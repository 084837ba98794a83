// The backward pass of a decoder layer with frozen weights: its vector-Jacobian product with respect to its input and
// each B. What the layer computed in the forward pass is computed again from its input.
#pragma once

#include <cstdint>

#include "decoder_layer.h"

namespace prge {

// Floats of scratch memory that `layer_backward` needs, for one slice.
int64_t backward_scratch_values(const LayerShape& shape);

// out = the gradient with respect to x, from `gradient`, that with respect to the layer's result, both [rows][hidden];
// `out` may be `gradient`. of_b[projection] [rank][out_features] = the gradient with respect to its B, if it has one.
// Gradients and their sums are float32; values that the layer rounds in the forward pass are rounded here too, as if
// rounding had derivative 1. False if a thread's buffer can't be allocated; then the results are undefined.
bool layer_backward(const SimdLoops& loops, const DecoderLayer& layer, const float* x, const float* bias,
                    const float* gradient, float* scratch, float* const* of_b, float* out);

}  // namespace prge
