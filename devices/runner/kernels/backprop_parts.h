// What a training step with backpropagation does around the layers in its backward pass, and its optimizers
// (docs/contracts.md, "Operators of our own").
#pragma once

#include <cstdint>

#include "simd.h"

namespace prge {

// out[r] = (softmax(logits[r]) - 1 at the label) / number of labels, 0 where there is none (-1); `out` may be `logits`.
void loss_gradient(const SimdLoops& loops, const float* logits, int64_t rows, int64_t vocabulary,
                   const int64_t* labels, float* out);

// out[r] = the derivative of x[r]'s norm with respect to x[r], times gradient[r]. `out` may be `gradient`.
void rms_norm_back(const float* gradient, const float* x, const float* weight, float epsilon, int64_t width, float* out);

// adapter -= lr * gradient.
void descend(const float* gradient, int64_t count, float lr, float* adapter);

// mean = beta * mean + (1 - beta) * gradient, or its square.
void move_mean(const float* gradient, int64_t count, float beta, bool squared, float* mean);

struct AdamStep {
  float lr;
  double first_beta, second_beta, epsilon;
  int64_t steps;  // this one included
};

// adapter -= lr * first / (1 - beta1^steps) / (sqrt(second / (1 - beta2^steps)) + epsilon).
void adam(const AdamStep& step, const float* first, const float* second, int64_t count, float* adapter);

}  // namespace prge
