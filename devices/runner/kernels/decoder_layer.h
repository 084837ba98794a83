// A decoder layer of the Llama family with frozen weights and adapters, in blocks of features: besides its input and
// result it needs only the scratch memory that the caller gives it, and a buffer for each thread.
#pragma once

#include <cstdint>

#include "frozen_product.h"
#include "simd.h"

namespace prge {

enum Projection { kQuery, kKey, kValue, kOutput, kGate, kUp, kDown, kProjections };

// What some families' layers have as well: biases, norms of each head's queries and keys before rotation, norms of the
// halves' results before they are added. The biases have the numbers of their projections.
enum Vector { kQueryBias, kKeyBias, kValueBias, kQueryNorm, kKeyNorm, kAttentionResult, kFeedForwardResult, kVectors };

struct AdaptedWeight {
  FrozenMatrix weight;
  Stored a;  // [rank][in_features]; no values if the projection has no adapter
  Stored b;  // [slices][rank][out_features]
};

struct LayerShape {
  int64_t rows;            // of all slices
  int64_t rows_per_slice;  // rows that share an adapter
  int64_t length;          // rows of a sequence
  int64_t hidden;
  int64_t intermediate;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t rank;  // 0 without adapters
  bool head_norms = false;    // whether the layer has any such vectors
  bool result_norms = false;
  int64_t results = length;  // rows at the end of a sequence that get results; all rows get keys and values

  int64_t group() const { return heads / kv_heads; }
  int64_t sequences() const { return rows / length; }
  bool makes_all() const { return results == length; }
  // The shape of what is computed only for the rows with results.
  LayerShape of_results() const {
    LayerShape shape = *this;
    shape.rows = sequences() * results;
    shape.rows_per_slice = rows_per_slice / length * results;
    shape.length = results;
    return shape;
  }
};

struct DecoderLayer {
  LayerShape shape;
  AdaptedWeight projections[kProjections];
  const float* attention_norm;     // [hidden]
  const float* feed_forward_norm;  // [hidden]
  float epsilon;
  const float* query_cos;  // [results][head_dim] each, signs and scale folded in
  const float* query_sin;
  const float* key_cos;  // [length][head_dim]
  const float* key_sin;
  const float* vectors[kVectors];  // null where the layer has none
  bool gelu;                       // the gate is GELU (approximated with tanh), not SiLU

  // Replaces the gate of a row by activation(gate) * up.
  void apply_gate(const SimdLoops& loops, float* gate, const float* up, int64_t count) const {
    (gelu ? loops.geglu : loops.swiglu)(gate, up, count);
  }
  // Normalizes a head's queries or keys in place, if the layer has such a norm.
  void normalize_head(const SimdLoops& loops, Vector norm, float* values) const {
    if (vectors[norm] != nullptr) loops.normalize(values, vectors[norm], epsilon, shape.head_dim, values);
  }
  // Whether the operands of all products are rounded to bfloat16, as its weights are.
  bool rounds() const { return projections[kQuery].weight.form == Form::bfloat16; }
  // If so, rounds computed operands into the words of `to`, which may be `values`.
  void round(const SimdLoops& loops, const float* values, int64_t count, float* to) const {
    if (rounds()) loops.round_bfloat16(values, count, to);
  }
  void round(const SimdLoops& loops, float* values, int64_t count) const { round(loops, values, count, values); }
};

// Features between two products that are in memory at a time, at least one head's.
constexpr int64_t kBlockFeatures = 512;

// Key/value heads whose queries, keys and values are in memory at a time.
int64_t kv_heads_at_a_time(const LayerShape& shape);

// Floats of scratch memory that `decoder_layer` needs.
int64_t scratch_values(const LayerShape& shape);

// out = the layer's result for x [rows][hidden], for the rows with results; it may be `x` if those are all. `bias`
// [sequences][length][length] is added to the scores. It must mask the keys after a query: not all of them are read.
// False if a thread's buffer can't be allocated; then `out` is undefined.
bool decoder_layer(const SimdLoops& loops, const DecoderLayer& layer, const float* x, const float* bias,
                   float* scratch, float* out);

}  // namespace prge
