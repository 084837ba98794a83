#include "backprop_parts.h"

#include <algorithm>
#include <cmath>

#include "parallel.h"

namespace prge {
namespace {

constexpr int64_t kValuesPerTask = 1 << 16;

// Calls `values(from, to)` for parts of [0, count), on all threads.
template <typename Values>
void for_each_part(int64_t count, Values values) {
  for_each_task((count + kValuesPerTask - 1) / kValuesPerTask, [&](int64_t task) {
    values(task * kValuesPerTask, std::min(count, (task + 1) * kValuesPerTask));
  });
}

}  // namespace

void loss_gradient(const SimdLoops& loops, const float* logits, int64_t rows, int64_t vocabulary,
                   const int64_t* labels, float* out) {
  int64_t count = 0;
  for (int64_t row = 0; row < rows; ++row) count += labels[row] >= 0 ? 1 : 0;
  const float share = 1.0f / static_cast<float>(count);
  for_each_task(rows, [&](int64_t row) {
    const float* from = logits + row * vocabulary;
    float* to = out + row * vocabulary;
    if (labels[row] < 0) {
      std::fill(to, to + vocabulary, 0.0f);
      return;
    }
    const float largest = *std::max_element(from, from + vocabulary);
    const float factor = share / loops.sum_exponentials(from, largest, vocabulary);
    for (int64_t i = 0; i < vocabulary; ++i) to[i] = std::exp(from[i] - largest) * factor;
    to[labels[row]] -= share;
  });
}

void rms_norm_back(const float* gradient, const float* x, const float* weight, float epsilon, int64_t width,
                   float* out) {
  double squares = 0.0, along = 0.0;
  for (int64_t i = 0; i < width; ++i) {
    squares += static_cast<double>(x[i]) * x[i];
    along += static_cast<double>(gradient[i]) * weight[i] * x[i];
  }
  const double factor = 1.0 / std::sqrt(squares / static_cast<double>(width) + epsilon);
  const auto scale = static_cast<float>(factor);
  const auto back = static_cast<float>(factor * factor * factor * along / static_cast<double>(width));
  for (int64_t i = 0; i < width; ++i) out[i] = scale * gradient[i] * weight[i] - back * x[i];
}

void descend(const float* gradient, int64_t count, float lr, float* adapter) {
  for_each_part(count, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) adapter[i] -= lr * gradient[i];
  });
}

void move_mean(const float* gradient, int64_t count, float beta, bool squared, float* mean) {
  for_each_part(count, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      mean[i] = beta * mean[i] + (1.0f - beta) * (squared ? gradient[i] * gradient[i] : gradient[i]);
    }
  });
}

void adam(const AdamStep& step, const float* first, const float* second, int64_t count, float* adapter) {
  const auto steps = static_cast<double>(step.steps);
  const auto mean = static_cast<float>(1.0 / (1.0 - std::pow(step.first_beta, steps)));
  const auto square = static_cast<float>(1.0 / (1.0 - std::pow(step.second_beta, steps)));
  const auto epsilon = static_cast<float>(step.epsilon);
  for_each_part(count, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      adapter[i] -= step.lr * (first[i] * mean) / (std::sqrt(second[i] * square) + epsilon);
    }
  });
}

}  // namespace prge
