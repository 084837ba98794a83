#include "layer_backward.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backprop_parts.h"
#include "layer_parts.h"
#include "parallel.h"
#include "thread_buffer.h"

namespace prge {
namespace {

// A frozen matrix from an operand as it is stored, such as A or B.
FrozenMatrix matrix_of(const Stored& stored, int64_t rows, int64_t columns) {
  FrozenMatrix matrix{stored.bfloat16 ? Form::bfloat16 : Form::float32, stored.values};
  matrix.out_features = rows;
  matrix.in_features = columns;
  return matrix;
}

// Rows of values, `stride` apart.
struct Rows {
  float* values;
  int64_t stride;
};

enum class Weight { transposed, untransposed };
enum class Sum { set, add };

class Products {
 public:
  Products(const SimdLoops& loops, int64_t rows) : loops_(loops), rows_(rows) {}

  // y = x * weight^T, or x * weight. `rows` are those of x and y, 0 for the layer's.
  void multiply(const Rows& x, const FrozenMatrix& weight, Weight way, const Rows& y, Sum sum, int64_t rows = 0) {
    const bool back = way == Weight::untransposed;
    const int64_t columns = back ? weight.in_features : weight.out_features;
    const int64_t depth = back ? weight.out_features : weight.in_features;
    const FrozenProduct product{weight, 0, columns, 0, depth, x.values, x.stride, sum == Sum::add, {}, back};
    complete_ &= multiply_all(loops_, product, rows == 0 ? rows_ : rows, y.values, y.stride);
  }

  bool complete() const { return complete_; }

 private:
  const SimdLoops& loops_;
  int64_t rows_;
  bool complete_ = true;
};

// Calls `task` for each of the layer's rows, on all threads.
template <typename Task>
void for_each_rows(int64_t rows, Task task) {
  for_each_task(divide_up(rows, kRowsPerTask), [&](int64_t part) {
    for (int64_t row = part * kRowsPerTask; row < std::min(rows, (part + 1) * kRowsPerTask); ++row) task(row);
  });
}

// The attention of the heads that share a key/value head, in one sequence, forward and backward. Queries and keys are
// already rotated.
class HeadGroup {
 public:
  HeadGroup(const SimdLoops& loops, const DecoderLayer& layer, const float* bias)
      : loops_(loops), layer_(layer), shape_(layer.shape), bias_(bias), width_(loops.panel_width) {}

  // Floats of a thread's buffer.
  int64_t buffer() const {
    const int64_t length = shape_.length, by_length = padded(length) * shape_.head_dim;
    const int64_t by_head = padded(shape_.head_dim) * length;
    return 2 * by_length + 2 * by_head + 3 * length * length;
  }

  // mixed = softmax(queries * keys^T + bias) * values.
  void mix(int64_t sequence, int64_t group, const Rows& queries, const Rows& keys, const Rows& values,
           const Rows& mixed, float* buffer) const {
    Scratch memory(buffer);
    const Sequence at = place(sequence);
    const float* key_panels = transposed_right(at.of(keys, group), memory);
    const float* value_panels = right(at.of(values, group), memory);
    float* weights = memory.take(shape_.length * shape_.length);
    for (int64_t head = group * shape_.group(); head < (group + 1) * shape_.group(); ++head) {
      weigh(sequence, at.of(queries, head), key_panels, weights);
      layer_.round(loops_, weights, shape_.length * shape_.length);
      multiply(weights, shape_.length, shape_.length, value_panels, at.of(mixed, head), shape_.head_dim, false);
      const Rows own = at.of(mixed, head);
      for (int64_t t = 0; t < shape_.length; ++t) layer_.round(loops_, own.values + t * own.stride, shape_.head_dim);
    }
  }

  // The gradients with respect to queries, keys and values, from that with respect to the mixed values.
  void go_back(int64_t sequence, int64_t group, const Rows& queries, const Rows& keys, const Rows& values,
               const Rows& of_mixed, const Rows& of_queries, const Rows& of_keys, const Rows& of_values,
               float* buffer) const {
    const int64_t length = shape_.length, head_dim = shape_.head_dim;
    Scratch memory(buffer);
    const Sequence at = place(sequence);
    const float* key_panels = transposed_right(at.of(keys, group), memory);
    const float* value_panels = transposed_right(at.of(values, group), memory);
    const float* keys_right = right(at.of(keys, group), memory);
    float* right_side = memory.take(padded(head_dim) * length);
    float* weights = memory.take(length * length);
    float* of_scores = memory.take(length * length);
    float* turned = memory.take(length * length);
    for (int64_t i = 0; i < shape_.group(); ++i) {
      const int64_t head = group * shape_.group() + i;
      const Rows query = at.of(queries, head), gradient = at.of(of_mixed, head);
      weigh(sequence, query, key_panels, weights);
      multiply(gradient.values, gradient.stride, head_dim, value_panels, {of_scores, length}, length, false);
      transpose(weights, turned);
      layer_.round(loops_, turned, length * length);
      Scratch panels(right_side);
      multiply(turned, length, length, right(gradient, panels), at.of(of_values, group), head_dim, i > 0);
      softmax_back(weights, of_scores);
      multiply(of_scores, length, length, keys_right, at.of(of_queries, head), head_dim, false);
      transpose(of_scores, turned);
      Scratch again(right_side);
      multiply(turned, length, length, right(query, again), at.of(of_keys, group), head_dim, i > 0);
    }
  }

 private:
  // Where a sequence begins.
  struct Sequence {
    int64_t row, head_dim;
    Rows of(const Rows& all, int64_t head) const {
      return {all.values + row * all.stride + head * head_dim, all.stride};
    }
  };

  Sequence place(int64_t sequence) const { return {sequence * shape_.length, shape_.head_dim}; }

  int64_t padded(int64_t columns) const { return divide_up(columns, width_) * width_; }

  // Panels of a head's rows [T][head_dim] as the right side of a product, and of their transpose.
  float* right(const Rows& rows, Scratch& memory) const {
    float* panels = memory.take(padded(shape_.head_dim) * shape_.length);
    for (int64_t c = 0; c < shape_.head_dim; c += width_) {
      pack_columns(loops_, {rows.values + c, false}, rows.stride, shape_.length, shape_.head_dim - c,
                   panels + c * shape_.length);
    }
    return panels;
  }

  float* transposed_right(const Rows& rows, Scratch& memory) const {
    float* panels = memory.take(padded(shape_.length) * shape_.head_dim);
    for (int64_t t = 0; t < shape_.length; t += width_) {
      pack_rows(loops_, rows.values + t * rows.stride, rows.stride, shape_.head_dim, shape_.length - t,
                panels + t * shape_.head_dim);
    }
    return panels;
  }

  void multiply(const float* x, int64_t stride, int64_t count, const float* panels, const Rows& y, int64_t columns,
                bool accumulate) const {
    multiply_panels(loops_, {x, stride, shape_.length, count}, panels, count, {y.values, y.stride, columns, accumulate});
  }

  void weigh(int64_t sequence, const Rows& queries, const float* key_panels, float* weights) const {
    const int64_t length = shape_.length;
    multiply(queries.values, queries.stride, shape_.head_dim, key_panels, {weights, length}, length, false);
    const float* bias = bias_ + sequence * length * length;
    for (int64_t t = 0; t < length; ++t) loops_.softmax(weights + t * length, bias + t * length, length);
  }

  void transpose(const float* from, float* to) const {
    const int64_t length = shape_.length;
    for (int64_t i = 0; i < length; ++i) {
      for (int64_t j = 0; j < length; ++j) to[j * length + i] = from[i * length + j];
    }
  }

  // Each gradient minus the weighted mean of its row, times its weight.
  void softmax_back(const float* weights, float* gradient) const {
    const int64_t length = shape_.length;
    for (int64_t t = 0; t < length; ++t, weights += length, gradient += length) {
      float mean = 0.0f;
      for (int64_t i = 0; i < length; ++i) mean += weights[i] * gradient[i];
      for (int64_t i = 0; i < length; ++i) gradient[i] = weights[i] * (gradient[i] - mean);
    }
  }

  const SimdLoops& loops_;
  const DecoderLayer& layer_;
  const LayerShape& shape_;
  const float* bias_;
  int64_t width_;
};

// gate and up become the gradients with respect to them; `gradient` is that with respect to silu(gate) * up, or
// gelu(gate) * up.
void gate_back(const float* gradient, int64_t count, bool gelu, float* gate, float* up) {
  // The sigmoid's argument is gate * (linear + cubic * gate^2); see SwigluLoop and GegluLoop.
  const float linear = gelu ? kGeluLinear : 1.0f, cubic = gelu ? kGeluCubic : 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    const float square = gelu ? cubic * gate[i] * gate[i] : 0.0f;
    const float opened = 1.0f / (1.0f + std::exp(-gate[i] * (linear + square))), silu = gate[i] * opened;
    const float of_gate = gradient[i] * up[i] * (opened + (silu - silu * opened) * (linear + 3.0f * square));
    up[i] = gradient[i] * silu;
    gate[i] = of_gate;
  }
}

// The transpose of a rotation, in place: the half turn, its own inverse, comes after the sines.
void rotate_back(const float* cos, const float* sin, int64_t count, float* x) {
  const int64_t half = count / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float low = x[i], high = x[half + i];
    x[i] = low * cos[i] + high * sin[half + i];
    x[half + i] = high * cos[half + i] + low * sin[i];
  }
}

// The memory of the backward pass.
struct Pieces {
  Pieces(const LayerShape& shape, float* scratch) {
    Scratch memory(scratch);
    const int64_t query = shape.heads * shape.head_dim, key = shape.kv_heads * shape.head_dim;
    const int64_t rows = shape.rows, rank = shape.rank;
    const auto take = [&](int64_t width) { return Rows{memory.take(rows * width), width}; };
    normal = take(shape.hidden);
    middle = take(shape.hidden);
    queries = take(query);
    keys = take(key);
    values = take(key);
    mixed = take(query);
    if (shape.head_norms) {
      raw_queries = take(query);
      raw_keys = take(key);
    }
    if (shape.result_norms) {
      attended = take(shape.hidden);
      fed = take(shape.hidden);
    }
    inner = take(kProjections * rank);
    of_inner = take(rank);
    turned = memory.take(rows * rank);
    float* shared = memory.take(0);
    gate = take(shape.intermediate);
    up = take(shape.intermediate);
    gated = take(shape.intermediate);
    Scratch over(shared);
    of_queries = {over.take(rows * query), query};
    of_keys = {over.take(rows * key), key};
    of_values = {over.take(rows * key), key};
  }

  Rows normal, middle, queries, keys, values, mixed, inner, of_inner, gate, up, gated, of_queries, of_keys, of_values;
  Rows raw_queries{}, raw_keys{};  // before their norms, if the layer has them
  Rows attended{}, fed{};          // the halves' results before their norms, likewise
  float* turned;
};

class Backward {
 public:
  Backward(const SimdLoops& loops, const DecoderLayer& layer, const float* x, const float* bias, float* scratch,
           float* const* of_b)
      : loops_(loops), layer_(layer), shape_(layer.shape), x_(x), pieces_(layer.shape, scratch), of_b_(of_b),
        products_(loops, layer.shape.rows), heads_(loops, layer, bias) {}

  void go_forth() {
    const Pieces& p = pieces_;
    normalize(x_, layer_.attention_norm);
    project(kQuery, p.normal, p.queries);
    project(kKey, p.normal, p.keys);
    project(kValue, p.normal, p.values);
    add_bias(kQueryBias, p.queries);
    add_bias(kKeyBias, p.keys);
    add_bias(kValueBias, p.values);
    normalize_heads(kQueryNorm, p.queries, p.raw_queries, shape_.heads);
    normalize_heads(kKeyNorm, p.keys, p.raw_keys, shape_.kv_heads);
    rotate(p.queries, shape_.heads, layer_.query_cos, layer_.query_sin);
    rotate(p.keys, shape_.kv_heads, layer_.key_cos, layer_.key_sin);
    layer_.round(loops_, p.queries.values, shape_.rows * p.queries.stride);
    layer_.round(loops_, p.keys.values, shape_.rows * p.keys.stride);
    layer_.round(loops_, p.values.values, shape_.rows * p.values.stride);
    for_each_group([&](int64_t sequence, int64_t group, float* buffer) {
      heads_.mix(sequence, group, p.queries, p.keys, p.values, p.mixed, buffer);
    });
    std::memcpy(p.middle.values, x_, static_cast<size_t>(shape_.rows * shape_.hidden) * sizeof(float));
    add_result(kOutput, kAttentionResult, p.mixed, p.attended);
    normalize(p.middle.values, layer_.feed_forward_norm);
    project(kGate, p.normal, p.gate);
    project(kUp, p.normal, p.up);
    for_each_rows(shape_.rows, [&](int64_t row) {
      float* gated = p.gated.values + row * shape_.intermediate;
      std::copy_n(p.gate.values + row * shape_.intermediate, shape_.intermediate, gated);
      layer_.apply_gate(loops_, gated, p.up.values + row * shape_.intermediate, shape_.intermediate);
      layer_.round(loops_, gated, shape_.intermediate);
    });
    if (shape_.result_norms) {
      project(kDown, p.gated, p.fed);
    } else {
      multiply_inner(kDown, p.gated);
    }
  }

  // Turns the gradient with respect to the layer's result into that with respect to its input, in place.
  void go_back(float* gradient) {
    const Pieces& p = pieces_;
    const Rows result{gradient, shape_.hidden};
    project_back(kDown, result_back(kFeedForwardResult, result, p.fed), p.gated, Sum::set);
    for_each_rows(shape_.rows, [&](int64_t row) {
      const int64_t at = row * shape_.intermediate;
      gate_back(p.gated.values + at, shape_.intermediate, layer_.gelu, p.gate.values + at, p.up.values + at);
    });
    project_back(kGate, p.gate, p.normal, Sum::set);
    project_back(kUp, p.up, p.normal, Sum::add);
    add_norm_back(p.middle.values, layer_.feed_forward_norm, gradient);
    project_back(kOutput, result_back(kAttentionResult, result, p.attended), p.mixed, Sum::set);
    for_each_group([&](int64_t sequence, int64_t group, float* buffer) {
      heads_.go_back(sequence, group, p.queries, p.keys, p.values, p.mixed, p.of_queries, p.of_keys, p.of_values,
                     buffer);
    });
    rotate_all_back(p.of_queries, shape_.heads, layer_.query_cos, layer_.query_sin);
    rotate_all_back(p.of_keys, shape_.kv_heads, layer_.key_cos, layer_.key_sin);
    heads_back(kQueryNorm, p.raw_queries, p.of_queries, shape_.heads);
    heads_back(kKeyNorm, p.raw_keys, p.of_keys, shape_.kv_heads);
    project_back(kQuery, p.of_queries, p.normal, Sum::set);
    project_back(kKey, p.of_keys, p.normal, Sum::add);
    project_back(kValue, p.of_values, p.normal, Sum::add);
    add_norm_back(x_, layer_.attention_norm, gradient);
  }

  bool complete() const { return complete_ && products_.complete(); }

 private:
  template <typename Task>
  void for_each_group(Task task) {
    complete_ &= for_each_buffered_task(shape_.sequences() * shape_.kv_heads, heads_.buffer(),
                                        [&](int64_t i, float* buffer) {
                                          task(i / shape_.kv_heads, i % shape_.kv_heads, buffer);
                                        });
  }

  void normalize(const float* x, const float* weight) {
    for_each_rows(shape_.rows, [&](int64_t row) {
      float* out = pieces_.normal.values + row * shape_.hidden;
      loops_.normalize(x + row * shape_.hidden, weight, layer_.epsilon, shape_.hidden, out);
      layer_.round(loops_, out, shape_.hidden);
    });
  }

  // gradient += that through the norm; pieces_.normal holds the gradient with respect to the norm's result.
  void add_norm_back(const float* x, const float* weight, float* gradient) {
    for_each_rows(shape_.rows, [&](int64_t row) {
      float* back = pieces_.normal.values + row * shape_.hidden;
      rms_norm_back(back, x + row * shape_.hidden, weight, layer_.epsilon, shape_.hidden, back);
      float* sum = gradient + row * shape_.hidden;
      for (int64_t i = 0; i < shape_.hidden; ++i) sum[i] += back[i];
    });
  }

  void add_bias(Vector bias, const Rows& rows) {
    const float* values = layer_.vectors[bias];
    if (values == nullptr) return;
    for_each_rows(shape_.rows, [&](int64_t row) {
      float* sum = rows.values + row * rows.stride;
      for (int64_t i = 0; i < rows.stride; ++i) sum[i] += values[i];
    });
  }

  // Normalizes the heads in place, and keeps their earlier values in `raw`.
  void normalize_heads(Vector norm, const Rows& rows, const Rows& raw, int64_t heads) {
    if (layer_.vectors[norm] == nullptr) return;
    for_each_rows(shape_.rows, [&](int64_t row) {
      float* values = rows.values + row * rows.stride;
      std::copy_n(values, rows.stride, raw.values + row * raw.stride);
      for (int64_t head = 0; head < heads; ++head) layer_.normalize_head(loops_, norm, values + head * shape_.head_dim);
    });
  }

  // The gradients with respect to normalized heads become those with respect to the heads in `raw`.
  void heads_back(Vector norm, const Rows& raw, const Rows& gradient, int64_t heads) {
    if (layer_.vectors[norm] == nullptr) return;
    for_each_rows(shape_.rows, [&](int64_t row) {
      for (int64_t head = 0; head < heads; ++head) {
        float* values = gradient.values + row * gradient.stride + head * shape_.head_dim;
        rms_norm_back(values, raw.values + row * raw.stride + head * shape_.head_dim, layer_.vectors[norm],
                      layer_.epsilon, shape_.head_dim, values);
      }
    });
  }

  // middle += attention's result, normalized if the layer has that norm; `made` keeps the result before the norm.
  void add_result(Projection projection, Vector norm, const Rows& x, const Rows& made) {
    const Rows& sum = pieces_.middle;
    if (layer_.vectors[norm] == nullptr) return project(projection, x, sum, Sum::add);
    project(projection, x, made);
    complete_ &= for_each_buffered_task(shape_.rows, shape_.hidden, [&](int64_t row, float* buffer) {
      loops_.normalize(made.values + row * made.stride, layer_.vectors[norm], layer_.epsilon, shape_.hidden, buffer);
      for (int64_t i = 0; i < shape_.hidden; ++i) sum.values[row * sum.stride + i] += buffer[i];
    });
  }

  // The gradient with respect to a half's result before its norm, written over that result; `gradient` itself without a
  // norm.
  Rows result_back(Vector norm, const Rows& gradient, const Rows& made) {
    if (layer_.vectors[norm] == nullptr) return gradient;
    for_each_rows(shape_.rows, [&](int64_t row) {
      float* values = made.values + row * made.stride;
      rms_norm_back(gradient.values + row * gradient.stride, values, layer_.vectors[norm], layer_.epsilon,
                    shape_.hidden, values);
    });
    return made;
  }

  void rotate(const Rows& rows, int64_t heads, const float* cos, const float* sin) {
    const int64_t head_dim = shape_.head_dim;
    complete_ &= for_each_buffered_task(shape_.rows, head_dim, [&](int64_t row, float* buffer) {
      const int64_t table = row % shape_.length * head_dim;
      for (int64_t head = 0; head < heads; ++head) {
        float* values = rows.values + row * rows.stride + head * head_dim;
        loops_.rotate(values, cos + table, sin + table, head_dim, buffer);
        std::copy_n(buffer, head_dim, values);
      }
    });
  }

  void rotate_all_back(const Rows& rows, int64_t heads, const float* cos, const float* sin) {
    const int64_t head_dim = shape_.head_dim;
    for_each_rows(shape_.rows, [&](int64_t row) {
      const int64_t table = row % shape_.length * head_dim;
      for (int64_t head = 0; head < heads; ++head) {
        rotate_back(cos + table, sin + table, head_dim, rows.values + row * rows.stride + head * head_dim);
      }
    });
  }

  bool adapted(Projection projection) const { return layer_.projections[projection].b.values != nullptr; }

  Rows inner(Projection projection) const {
    return {pieces_.inner.values + projection * shape_.rank, pieces_.inner.stride};
  }

  FrozenMatrix a(Projection projection) const {
    const AdaptedWeight& adapted = layer_.projections[projection];
    return matrix_of(adapted.a, shape_.rank, adapted.weight.in_features);
  }

  FrozenMatrix b(Projection projection) const {
    const AdaptedWeight& adapted = layer_.projections[projection];
    return matrix_of(adapted.b, shape_.rank, adapted.weight.out_features);
  }

  void multiply_inner(Projection projection, const Rows& x) {
    if (!adapted(projection)) return;
    products_.multiply(x, a(projection), Weight::transposed, inner(projection), Sum::set);
    if (!layer_.rounds()) return;
    for (int64_t row = 0; row < shape_.rows; ++row) {
      layer_.round(loops_, inner(projection).values + row * pieces_.inner.stride, shape_.rank);
    }
  }

  void project(Projection projection, const Rows& x, const Rows& y, Sum sum = Sum::set) {
    products_.multiply(x, layer_.projections[projection].weight, Weight::transposed, y, sum);
    multiply_inner(projection, x);
    if (adapted(projection)) {
      products_.multiply(inner(projection), b(projection), Weight::untransposed, y, Sum::add);
    }
  }

  // The gradient with respect to the projection's input, and that with respect to its B, from that with respect to its
  // result.
  void project_back(Projection projection, const Rows& gradient, const Rows& y, Sum sum) {
    products_.multiply(gradient, layer_.projections[projection].weight, Weight::untransposed, y, sum);
    if (!adapted(projection)) return;
    products_.multiply(gradient, b(projection), Weight::transposed, pieces_.of_inner, Sum::set);
    products_.multiply(pieces_.of_inner, a(projection), Weight::untransposed, y, Sum::add);
    const Rows own = inner(projection);
    for (int64_t row = 0; row < shape_.rows; ++row) {
      for (int64_t i = 0; i < shape_.rank; ++i) pieces_.turned[i * shape_.rows + row] = own.values[row * own.stride + i];
    }
    const int64_t columns = layer_.projections[projection].weight.out_features;
    products_.multiply({pieces_.turned, shape_.rows}, matrix_of({gradient.values, false}, shape_.rows, columns),
                       Weight::untransposed, {of_b_[projection], columns}, Sum::set, shape_.rank);
  }

  const SimdLoops& loops_;
  const DecoderLayer& layer_;
  const LayerShape& shape_;
  const float* x_;
  const Pieces pieces_;
  float* const* of_b_;
  Products products_;
  const HeadGroup heads_;
  bool complete_ = true;
};

}  // namespace

int64_t backward_scratch_values(const LayerShape& shape) {
  const int64_t query = shape.heads * shape.head_dim, key = shape.kv_heads * shape.head_dim;
  const int64_t shared = std::max(3 * shape.intermediate, query + 2 * key);
  const int64_t norms = (shape.head_norms ? query + key : 0) + (shape.result_norms ? 2 * shape.hidden : 0);
  return shape.rows * (2 * shape.hidden + 2 * query + 2 * key + (kProjections + 2) * shape.rank + shared + norms);
}

bool layer_backward(const SimdLoops& loops, const DecoderLayer& layer, const float* x, const float* bias,
                    const float* gradient, float* scratch, float* const* of_b, float* out) {
  Backward backward(loops, layer, x, bias, scratch, of_b);
  backward.go_forth();
  if (out != gradient) {
    std::memcpy(out, gradient, static_cast<size_t>(layer.shape.rows * layer.shape.hidden) * sizeof(float));
  }
  backward.go_back(out);
  return backward.complete();
}

}  // namespace prge
