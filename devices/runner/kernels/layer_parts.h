// What the two halves of a decoder layer share: the norm at their start, and the inner products of the adapters.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "decoder_layer.h"
#include "panels.h"

namespace prge {

constexpr int64_t kRowsPerTask = 32;  // for tasks whose work grows with the rows alone

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Inner products x * a^T of the adapters of up to three projections with the same input, side by side.
class InnerProducts {
 public:
  InnerProducts(const SimdLoops& loops, const DecoderLayer& layer, std::initializer_list<Projection> projections,
                float* panels, float* inner, int64_t inner_stride);

  // The number of tasks that pack the values [first, first + count) of the rows of a, and one of these tasks.
  int64_t pack_tasks() const { return divide_up(columns(), loops_.panel_width); }
  void pack(int64_t task, int64_t first, int64_t count) const;

  // Computes, or adds to, the inner products of `rows` rows from `row` on; `x` points to row 0.
  void multiply(const float* x, int64_t x_stride, int64_t row, int64_t rows, int64_t count, bool accumulate) const;

  // Rounds the inner products of these rows, which are operands too, once they are complete.
  void round(int64_t row, int64_t rows) const;

  // What the adapter of `projection` adds to its product; nothing if there is none.
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

// How a half begins: out = x, normal = norm of x with `weight`, all [rows][hidden]. With `residual`, x goes there and
// out becomes zero, since the half's result is normalized before it is added. Without `out`, only the norm is computed.
struct Norm {
  const float* x;
  const float* weight;
  float* out;
  float* normal;
  float* residual;
};

// Does that, and computes the inner products of the adapters whose input is `normal`.
void enter_half(const SimdLoops& loops, const DecoderLayer& layer, const Norm& norm, const InnerProducts& input);

// If there is a residual, out = residual + the norm of the half's result in `out`.
void leave_half(const SimdLoops& loops, const DecoderLayer& layer, Vector norm, const float* residual, float* out);

// The halves of a layer: out += the half's result for the norm of x. `x` may be `out`. `results` is the layer with the
// shape of the rows that get results.
bool attention_half(const SimdLoops& loops, const DecoderLayer& layer, const DecoderLayer& results, const float* x,
                    const float* bias, float* scratch, float* out);
bool feed_forward_half(const SimdLoops& loops, const DecoderLayer& layer, float* scratch, float* out);

// Hands out one piece of scratch memory after the other.
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

// Memory for the residual stream during a half, null for layers without norms of results.
inline float* take_residual(const LayerShape& shape, Scratch& memory) {
  return shape.result_norms ? memory.take(shape.rows * shape.hidden) : nullptr;
}

}  // namespace prge
