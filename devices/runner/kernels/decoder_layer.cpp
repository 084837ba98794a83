#include "decoder_layer.h"

#include <algorithm>

#include "layer_parts.h"

namespace prge {
namespace {

// Columns of up to three adapters' inner products, rounded up to whole panels of any variant.
int64_t padded(int64_t columns) { return divide_up(columns, kWidestPanel) * kWidestPanel; }

}  // namespace

int64_t kv_heads_at_a_time(const LayerShape& shape) {
  return std::clamp<int64_t>(kBlockFeatures / ((shape.group() + 2) * shape.head_dim), 1, shape.kv_heads);
}

int64_t scratch_values(const LayerShape& shape) {
  const int64_t heads = kv_heads_at_a_time(shape) * (shape.group() + 2) * shape.head_dim;
  const int64_t block = std::max(heads, kBlockFeatures);
  const int64_t panels = shape.hidden * padded(3 * shape.rank) + block * padded(shape.rank);
  const int64_t residual = shape.result_norms ? shape.hidden : 0;
  const int64_t some = shape.makes_all() ? 0 : shape.of_results().rows * (shape.hidden + 4 * shape.rank);
  return shape.rows * (shape.hidden + block + 4 * shape.rank + residual) + panels + some;
}

bool decoder_layer(const SimdLoops& loops, const DecoderLayer& layer, const float* x, const float* bias, float* scratch,
                   float* out) {
  DecoderLayer results = layer;
  results.shape = layer.shape.of_results();
  const SimdLoops& own = layer.rounds() && loops.of_pairs != nullptr ? *loops.of_pairs : loops;
  return attention_half(own, layer, results, x, bias, scratch, out) && feed_forward_half(own, results, scratch, out);
}

}  // namespace prge
