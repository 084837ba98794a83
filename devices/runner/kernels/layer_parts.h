// What both halves of a decoder layer do: the norm before, and the inner products of the adapters.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "decoder_layer.h"
#include "panels.h"

namespace prge {

constexpr int64_t kRowsPerTask = 32;  // where a task's work grows with the rows alone

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Inner products x * a^T of the adapters of up to three projections that have one input, side by side.
class InnerProducts {
 public:
  InnerProducts(const SimdLoops& loops, const DecoderLayer& layer, std::initializer_list<Projection> projections,
                float* panels, float* inner, int64_t inner_stride);

  // Tasks that pack the values [first, first + count) of the rows of a, and the packing.
  int64_t pack_tasks() const { return divide_up(columns(), loops_.panel_width); }
  void pack(int64_t task, int64_t first, int64_t count) const;

  // Makes, or adds to, the inner products of `rows` rows from `row` on; `x` is that of row 0.
  void multiply(const float* x, int64_t x_stride, int64_t row, int64_t rows, int64_t count, bool accumulate) const;

  // Rounds the inner products of these rows, which are operands too, once they are complete.
  void round(int64_t row, int64_t rows) const;

  // What the adapter of `projection` adds to its product; nothing where there is none.
  LowRankShare share(Projection projection) const;

 private:
  int64_t columns() const { return count_ * layer_.shape.rank; }

  const SimdLoops& loops_;
  const DecoderLayer& layer_;
  Projection adapted_[3];
  int64_t count_ = 0;
  float* panels_;
  float* inner_;
  int64_t inner_stride_;
};

// How a half begins: out = x, normal = norm of x with `weight`, all [rows][hidden]. With `residual` x goes there
// and out is zero, as what the half gives is normalized before it is added. Without `out` there is the norm alone.
struct Norm {
  const float* x;
  const float* weight;
  float* out;
  float* normal;
  float* residual;
};

// Does that, and makes the inner products of the adapters whose input is `normal`.
void enter_half(const SimdLoops& loops, const DecoderLayer& layer, const Norm& norm, const InnerProducts& input);

// Adds to `residual`, if there is one, the norm of what the half has made in `out`, which becomes the sum.
void leave_half(const SimdLoops& loops, const DecoderLayer& layer, Vector norm, const float* residual, float* out);

// The halves of a layer: out += what they make of x's norm. `x` may be `out`. `results` is the layer with the shape of
// the rows that get results.
bool attention_half(const SimdLoops& loops, const DecoderLayer& layer, const DecoderLayer& results, const float* x,
                    const float* bias, float* scratch, float* out);
bool feed_forward_half(const SimdLoops& loops, const DecoderLayer& layer, float* scratch, float* out);

// Hands out a piece of scratch memory after the other.
class Scratch {
 public:
  explicit Scratch(float* memory) : next_(memory) {}
  float* take(int64_t floats) {
    float* piece = next_;
    next_ += floats;
    return piece;
  }

 private:
  float* next_;
};

// Memory for the residual stream while a half is made, null for layers without norms of results.
inline float* take_residual(const LayerShape& shape, Scratch& memory) {
  return shape.result_norms ? memory.take(shape.rows * shape.hidden) : nullptr;
}

}  // namespace prge
