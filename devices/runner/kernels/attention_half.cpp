// Attention: the heads that share some keys and values are projected, mixed and projected back before the next ones.
#include <algorithm>

#include "layer_parts.h"
#include "parallel.h"
#include "part_times.h"
#include "thread_buffer.h"

namespace prge {
namespace {

// With the keys up to the last of these queries; later keys are masked for all of them.
constexpr int64_t kQueriesAtATime = 32;

// The memory of the attention half. If all rows get results, `query_normal` and `query_inner` are `normal` and `inner`.
struct Pieces {
  float* normal;   // [rows][hidden]
  float* keys;     // [rows][stride]
  float* values;   // likewise
  float* queries;  // [rows with results][query_stride]: queries, later the mixed values
  int64_t stride, query_stride;
  float* inner;         // [rows][4 * rank]
  float* query_normal;  // normal and inner of the rows with results
  float* query_inner;
};

// Key/value heads [first, first + count).
struct Heads {
  int64_t first, count;
};

int64_t panels_of(const SimdLoops& loops, int64_t columns) { return divide_up(columns, loops.panel_width); }

// Floats of a thread's buffer for one sequence: keys and values of a head in panels, rotated queries, their scores.
int64_t mixing_buffer(const SimdLoops& loops, const LayerShape& shape) {
  const int64_t width = loops.panel_width;
  const int64_t keys = panels_of(loops, shape.length) * width;
  const int64_t values = panels_of(loops, shape.head_dim) * width;
  return keys * shape.head_dim + values * shape.length + kQueriesAtATime * (shape.head_dim + keys);
}

class Mixing {
 public:
  Mixing(const SimdLoops& loops, const DecoderLayer& layer, const Pieces& pieces, const float* bias)
      : loops_(loops), layer_(layer), shape_(layer.shape), pieces_(pieces), bias_(bias) {}

  // Replaces the queries of key/value head `head` of a sequence by the mixed values.
  void mix(int64_t sequence, int64_t head, float* buffer) const {
    const int64_t width = loops_.panel_width, key_columns = panels_of(loops_, shape_.length) * width;
    Scratch memory(buffer);
    float* key_panels = memory.take(key_columns * shape_.head_dim);
    float* value_panels = memory.take(panels_of(loops_, shape_.head_dim) * width * shape_.length);
    float* queries = memory.take(kQueriesAtATime * shape_.head_dim);
    float* scores = memory.take(kQueriesAtATime * key_columns);
    const int64_t first_row = sequence * shape_.length, others = shape_.length - shape_.results;
    pack_keys(pieces_.keys + first_row * pieces_.stride + head * shape_.head_dim, queries, key_panels);
    pack_values(pieces_.values + first_row * pieces_.stride + head * shape_.head_dim, value_panels);
    float* rows = pieces_.queries + sequence * shape_.results * pieces_.query_stride;
    const int64_t depth = loops_.words(shape_.head_dim);
    for (int64_t i = head * shape_.group(); i < (head + 1) * shape_.group(); ++i) {
      for (int64_t t = 0; t < shape_.results; t += kQueriesAtATime) {
        float* from = rows + t * pieces_.query_stride + i * shape_.head_dim;
        const int64_t count = std::min(kQueriesAtATime, shape_.results - t), seen = others + t + count;
        rotate_queries(from, t, count, queries);
        {
          const PartTimer timer(Work::scores);
          multiply_panels(loops_, {queries, depth, count, depth}, key_panels, depth,
                          {scores, key_columns, panels_of(loops_, seen) * width, false});
        }
        weigh(bias_ + (first_row + others + t) * shape_.length, count, seen, scores, key_columns);
        const PartTimer timer(Work::mix);
        multiply_panels(loops_, {scores, key_columns, count, loops_.words(seen)}, value_panels,
                        loops_.words(shape_.length), {from, pieces_.query_stride, shape_.head_dim, false});
        // The words of all heads side by side, over queries that have been used already.
        float* mixed = rows + t * pieces_.query_stride + i * depth;
        for (int64_t row = 0; row < count * pieces_.query_stride; row += pieces_.query_stride) {
          layer_.round(loops_, from + row, shape_.head_dim, mixed + row);
        }
      }
    }
  }

 private:
  // The softmax of `count` rows of `seen` scores, `stride` values apart.
  void weigh(const float* bias, int64_t count, int64_t seen, float* scores, int64_t stride) const {
    const PartTimer timer(Work::softmax);
    for (int64_t row = 0; row < count; ++row) {
      loops_.softmax(scores + row * stride, bias + row * shape_.length, seen);
      layer_.round(loops_, scores + row * stride, seen);
    }
  }

  void pack_values(float* values, float* panels) const {
    const PartTimer timer(Work::pack);
    const int64_t width = loops_.panel_width, head_dim = shape_.head_dim;
    for (int64_t t = 0; t < shape_.length; ++t) layer_.round(loops_, values + t * pieces_.stride, head_dim);
    const Stored rounded{values, loops_.word_values > 1};
    for (int64_t c = 0; c < head_dim; c += width) {
      pack_columns(loops_, rounded.from(c), pieces_.stride * loops_.word_values, shape_.length, head_dim - c,
                   panels + c * loops_.words(shape_.length));
    }
  }

  // The rotated keys as the columns of panels; `row` is memory for one of them.
  void pack_keys(float* keys, float* row, float* panels) const {
    const PartTimer timer(Work::rotary);
    const int64_t width = loops_.panel_width, head_dim = shape_.head_dim, depth = loops_.words(head_dim);
    for (int64_t t = 0; t < panels_of(loops_, shape_.length) * width; ++t) {
      float* panel = panels + t / width * width * depth + t % width;
      if (t < shape_.length) {
        layer_.normalize_head(loops_, kKeyNorm, keys + t * pieces_.stride);
        loops_.rotate(keys + t * pieces_.stride, layer_.key_cos + t * head_dim, layer_.key_sin + t * head_dim,
                      head_dim, row);
        layer_.round(loops_, row, head_dim);
      }
      for (int64_t i = 0; i < depth; ++i) panel[i * width] = t < shape_.length ? row[i] : 0.0f;
    }
  }

  void rotate_queries(float* from, int64_t first, int64_t count, float* queries) const {
    const PartTimer timer(Work::rotary);
    const int64_t head_dim = shape_.head_dim;
    for (int64_t row = 0; row < count; ++row) {
      layer_.normalize_head(loops_, kQueryNorm, from + row * pieces_.query_stride);
      loops_.rotate(from + row * pieces_.query_stride, layer_.query_cos + (first + row) * head_dim,
                    layer_.query_sin + (first + row) * head_dim, head_dim, queries + row * head_dim);
    }
    layer_.round(loops_, queries, count * head_dim);
  }

  const SimdLoops& loops_;
  const DecoderLayer& layer_;
  const LayerShape& shape_;
  const Pieces& pieces_;
  const float* bias_;
};

void add_bias(const float* bias, const Tile& tile, int64_t stride, float* y) {
  const PartTimer timer(Work::bias);
  for (int64_t row = 0; row < tile.rows; ++row, y += stride) {
    for (int64_t i = 0; i < tile.columns; ++i) y[i] += bias[i];
  }
}

// Computes queries, keys and values of some heads; meanwhile `output` is packed for them.
bool project_in(const SimdLoops& loops, const DecoderLayer& layer, const DecoderLayer& results, const Pieces& pieces,
                const InnerProducts& input, const InnerProducts& output, const Heads& heads) {
  const LayerShape& shape = layer.shape;
  const int64_t per_head = shape.group() * shape.head_dim;
  const int64_t features[3] = {per_head, shape.head_dim, shape.head_dim};
  float* const made[3] = {pieces.queries, pieces.keys, pieces.values};
  const TilePlan plan =
      plan_tiles(loops, shape.rows, heads.count * (per_head + 2 * shape.head_dim), kWidestTile);
  FrozenProduct products[3];
  TilePlan plans[3];
  int64_t ends[3];
  for (int i = 0; i < 3; ++i) {
    const auto projection = static_cast<Projection>(kQuery + i);
    products[i] = {layer.projections[projection].weight, heads.first * features[i], heads.count * features[i], 0,
                   shape.hidden, i == 0 ? pieces.query_normal : pieces.normal, shape.hidden, false,
                   input.share(projection)};
    plans[i] = i > 0 || shape.makes_all()
                   ? plan.for_columns(products[i].columns)
                   : plan_tiles(loops, results.shape.rows, products[i].columns, kWidestTile);
    ends[i] = (i == 0 ? 0 : ends[i - 1]) + plans[i].tasks();
  }
  products[kQuery].share.move_to(pieces.query_inner - pieces.inner, results.shape.rows_per_slice);
  return for_each_buffered_task(ends[2] + output.pack_tasks(), kTileBuffer, [&](int64_t task, float* buffer) {
    if (task >= ends[2]) {
      output.pack(task - ends[2], heads.first * per_head, heads.count * per_head);
      return;
    }
    const int i = task < ends[0] ? 0 : task < ends[1] ? 1 : 2;
    const int64_t rows = i == 0 ? results.shape.rows : shape.rows;
    const int64_t stride = i == 0 ? pieces.query_stride : pieces.stride;
    const Tile tile = plans[i].tile(task - (i == 0 ? 0 : ends[i - 1]), rows, products[i].columns);
    float* y = made[i] + tile.row * stride + tile.column;
    multiply_tile(loops, products[i], tile, y, stride, buffer);
    const float* bias = layer.vectors[kQueryBias + i];
    if (bias != nullptr) add_bias(bias + products[i].first_out + tile.column, tile, stride, y);
  });
}

// Adds the contribution of some heads' mixed values to the layer's result.
bool project_out(const SimdLoops& loops, const DecoderLayer& results, const Pieces& pieces, const LowRankShare& share,
                 const Heads& heads, float* out) {
  const LayerShape& shape = results.shape;
  const int64_t per_head = shape.group() * shape.head_dim;
  const FrozenProduct product{results.projections[kOutput].weight, 0, shape.hidden, heads.first * per_head,
                           heads.count * per_head, pieces.queries, pieces.query_stride, true, share};
  return multiply_all(loops, product, shape.rows, out, shape.hidden);
}

Pieces take_pieces(const LayerShape& shape, int64_t queries, int64_t keys, Scratch& memory) {
  const int64_t inner = 4 * shape.rank, some = shape.makes_all() ? 0 : shape.of_results().rows;
  Pieces pieces{};
  pieces.normal = memory.take(shape.rows * shape.hidden);
  pieces.stride = 2 * keys + (some == 0 ? queries : 0);
  float* block = memory.take(shape.rows * pieces.stride);
  pieces.inner = memory.take(shape.rows * inner);
  pieces.queries = some == 0 ? block : memory.take(some * queries);
  pieces.query_stride = some == 0 ? pieces.stride : queries;
  pieces.keys = block + (some == 0 ? queries : 0);
  pieces.values = pieces.keys + keys;
  pieces.query_normal = some == 0 ? pieces.normal : memory.take(some * shape.hidden);
  pieces.query_inner = some == 0 ? pieces.inner : memory.take(some * inner);
  return pieces;
}

// Copies the rows that get results.
void take_results(const LayerShape& shape, const float* rows, int64_t width, float* out) {
  for (int64_t sequence = 0; sequence < shape.sequences(); ++sequence) {
    const float* from = rows + ((sequence + 1) * shape.length - shape.results) * width;
    std::copy_n(from, shape.results * width, out + sequence * shape.results * width);
  }
}

}  // namespace

bool attention_half(const SimdLoops& loops, const DecoderLayer& layer, const DecoderLayer& results, const float* x,
                    const float* bias, float* scratch, float* out) {
  const LayerShape& shape = layer.shape;
  const int64_t at_a_time = kv_heads_at_a_time(shape), queries = at_a_time * shape.group() * shape.head_dim;
  Scratch memory(scratch);
  const Pieces pieces = take_pieces(shape, queries, at_a_time * shape.head_dim, memory);
  float* output_panels = memory.take(queries * divide_up(shape.rank, loops.panel_width) * loops.panel_width);
  float* residual = take_residual(results.shape, memory);
  const InnerProducts input(loops, layer, {kQuery, kKey, kValue}, memory.take(0), pieces.inner, 4 * shape.rank);
  const InnerProducts output(loops, results, {kOutput}, output_panels, pieces.query_inner + 3 * shape.rank,
                             4 * shape.rank);
  const Mixing mixing(loops, layer, pieces, bias);

  if (shape.makes_all()) {
    enter_half(loops, layer, {x, layer.attention_norm, out, pieces.normal, residual}, input);
  } else {
    enter_half(loops, layer, {x, layer.attention_norm, nullptr, pieces.normal, nullptr}, input);
    take_results(shape, pieces.normal, shape.hidden, pieces.query_normal);
    take_results(shape, pieces.inner, 4 * shape.rank, pieces.query_inner);
    take_results(shape, x, shape.hidden, residual == nullptr ? out : residual);
    if (residual != nullptr) std::fill_n(out, results.shape.rows * shape.hidden, 0.0f);
  }
  for (int64_t first = 0; first < shape.kv_heads; first += at_a_time) {
    const Heads heads{first, std::min(at_a_time, shape.kv_heads - first)};
    const bool last = first + heads.count == shape.kv_heads;
    if (!project_in(loops, layer, results, pieces, input, output, heads)) return false;
    const bool mixed = for_each_buffered_task(
        shape.sequences(), mixing_buffer(loops, shape), [&](int64_t sequence, float* buffer) {
          for (int64_t head = 0; head < heads.count; ++head) mixing.mix(sequence, head, buffer);
          output.multiply(pieces.queries, pieces.query_stride, sequence * shape.results, shape.results,
                          heads.count * shape.group() * shape.head_dim, first > 0);
          if (last) output.round(sequence * shape.results, shape.results);
        });
    if (!mixed) return false;
    const LowRankShare share = last ? output.share(kOutput) : LowRankShare{};
    if (!project_out(loops, results, pieces, share, heads, out)) return false;
  }
  leave_half(loops, results, kAttentionResult, residual, out);
  return true;
}

}  // namespace prge
