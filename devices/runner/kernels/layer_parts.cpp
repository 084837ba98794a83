#include "layer_parts.h"

#include <algorithm>
#include <cstring>

#include "parallel.h"
#include "part_times.h"

namespace prge {
namespace {

constexpr int64_t kPackedAtATime = 16;  // values of each row: source and destination stay in the L1 cache

}  // namespace

InnerProducts::InnerProducts(const SimdLoops& loops, const DecoderLayer& layer,
                             std::initializer_list<Projection> projections, float* panels, float* inner,
                             int64_t inner_stride)
    : loops_(loops), layer_(layer), panels_(panels), inner_(inner), inner_stride_(inner_stride) {
  for (const Projection projection : projections) {
    if (layer.projections[projection].b.values != nullptr) adapted_[count_++] = projection;
  }
}

void InnerProducts::pack(int64_t task, int64_t first, int64_t count) const {
  const PartTimer timer(Work::inner_products);
  const int64_t width = loops_.panel_width, rank = layer_.shape.rank, words = loops_.words(count);
  float* panel = panels_ + task * width * words;
  Stored rows[kWidestPanel];
  const int64_t filled = std::min(width, columns() - task * width);
  for (int64_t j = 0; j < filled; ++j) {
    const int64_t column = task * width + j;
    const AdaptedWeight& projection = layer_.projections[adapted_[column / rank]];
    rows[j] = projection.a.from(column % rank * projection.weight.in_features + first);
  }
  for (int64_t k = 0; k < words; k += kPackedAtATime) {
    const int64_t end = std::min(words, k + kPackedAtATime);
    for (int64_t j = 0; j < filled; ++j) {
      for (int64_t i = k; i < end; ++i) panel[i * width + j] = rows[j].word(i, loops_.word_values, count);
    }
    for (int64_t i = k; i < end; ++i) std::fill(panel + i * width + filled, panel + (i + 1) * width, 0.0f);
  }
}

void InnerProducts::multiply(const float* x, int64_t x_stride, int64_t row, int64_t rows, int64_t count,
                             bool accumulate) const {
  if (count_ == 0) return;
  const PartTimer timer(Work::inner_products);
  multiply_panels(loops_, {x + row * x_stride, x_stride, rows, loops_.words(count)}, panels_, loops_.words(count),
                  {inner_ + row * inner_stride_, inner_stride_, columns(), accumulate});
}

void InnerProducts::round(int64_t row, int64_t rows) const {
  const int64_t rank = layer_.shape.rank;
  for (int64_t i = row; i < row + rows; ++i) {
    for (int64_t column = 0; column < columns(); column += rank) {
      layer_.round(loops_, inner_ + i * inner_stride_ + column, rank);
    }
  }
}

LowRankShare InnerProducts::share(Projection projection) const {
  const int64_t rank = layer_.shape.rank;
  for (int64_t i = 0; i < count_; ++i) {
    if (adapted_[i] == projection) {
      return {inner_ + i * rank, inner_stride_, layer_.projections[projection].b, rank, layer_.shape.rows_per_slice};
    }
  }
  return {};
}

void enter_half(const SimdLoops& loops, const DecoderLayer& layer, const Norm& norm, const InnerProducts& input) {
  const int64_t hidden = layer.shape.hidden, rows = layer.shape.rows, tasks = divide_up(rows, kRowsPerTask);
  for_each_task(tasks + input.pack_tasks(), [&](int64_t task) {
    if (task >= tasks) {
      input.pack(task - tasks, 0, hidden);
      return;
    }
    const PartTimer timer(Work::norm);
    for (int64_t row = task * kRowsPerTask; row < std::min((task + 1) * kRowsPerTask, rows); ++row) {
      const float* x = norm.x + row * hidden;
      loops.normalize(x, norm.weight, layer.epsilon, hidden, norm.normal + row * hidden);
      if (norm.out != nullptr) {
        float* kept = (norm.residual == nullptr ? norm.out : norm.residual) + row * hidden;
        if (x != kept) std::memcpy(kept, x, static_cast<size_t>(hidden) * sizeof(float));
        if (norm.residual != nullptr) std::fill_n(norm.out + row * hidden, hidden, 0.0f);
      }
      layer.round(loops, norm.normal + row * hidden, hidden);
    }
  });
  for_each_task(tasks, [&](int64_t task) {
    const int64_t row = task * kRowsPerTask, count = std::min(kRowsPerTask, rows - row);
    input.multiply(norm.normal, hidden, row, count, hidden, false);
    input.round(row, count);
  });
}

void leave_half(const SimdLoops& loops, const DecoderLayer& layer, Vector norm, const float* residual, float* out) {
  if (residual == nullptr) return;
  const int64_t hidden = layer.shape.hidden, rows = layer.shape.rows;
  for_each_task(divide_up(rows, kRowsPerTask), [&](int64_t task) {
    const PartTimer timer(Work::norm);
    for (int64_t row = task * kRowsPerTask; row < std::min((task + 1) * kRowsPerTask, rows); ++row) {
      float* made = out + row * hidden;
      if (layer.vectors[norm] != nullptr) loops.normalize(made, layer.vectors[norm], layer.epsilon, hidden, made);
      for (int64_t i = 0; i < hidden; ++i) made[i] += residual[row * hidden + i];
    }
  });
}

}  // namespace prge
