// The kernels behind a plain C interface, so that tests can call them without a program. Built with RUNNER_TESTING.
#include <algorithm>
#include <vector>

#include "../thread_pool.h"
#include "decoder_layer.h"
#include "frozen_product.h"
#include "layer_backward.h"
#include "noise.h"
#include "step_parts.h"
#include "weight_noise.h"

// A frozen matrix without its sizes: `scales` as the operators take them, null where the form has none.
struct Frozen {
  int64_t form;  // prge::Form
  const void* values;
  const void* scales[3];
};

namespace {

prge::FrozenMatrix matrix(const Frozen& frozen, int64_t out_features, int64_t in_features) {
  prge::FrozenMatrix weight{static_cast<prge::Form>(frozen.form), frozen.values};
  const bool twice = weight.form == prge::Form::nf4_double;
  weight.scales = static_cast<const float*>(frozen.scales[twice ? 1 : 0]);
  if (twice) {
    weight.absmax_codes = static_cast<const uint8_t*>(frozen.scales[0]);
    weight.absmax_offset = *static_cast<const float*>(frozen.scales[2]);
  }
  weight.out_features = out_features;
  weight.in_features = in_features;
  return weight;
}

// sizes: slices, rows of a slice, then the rest of LayerShape in its order.
prge::LayerShape layer_shape(const int64_t* sizes) {
  return {sizes[0] * sizes[1], sizes[1], sizes[2], sizes[3], sizes[4],      sizes[5],
          sizes[6],            sizes[7], sizes[8], sizes[9] != 0, sizes[10] != 0, sizes[11]};
}

// The arrays have an entry for each projection, null in `a` and `b` where it has no adapter.
prge::DecoderLayer layer_of(const int64_t* sizes, const Frozen* weights, const void* const* a, const void* const* b,
                            const float* const* norms, const float* const* rotary, const float* const* vectors,
                            bool gelu, float epsilon) {
  prge::DecoderLayer layer{};
  layer.shape = layer_shape(sizes);
  const int64_t query = sizes[5] * sizes[7], key = sizes[6] * sizes[7], hidden = sizes[3], wide = sizes[4];
  const int64_t features[prge::kProjections][2] = {{query, hidden}, {key, hidden},  {key, hidden}, {hidden, query},
                                                   {wide, hidden},  {wide, hidden}, {hidden, wide}};
  for (int i = 0; i < prge::kProjections; ++i) {
    const prge::FrozenMatrix weight = matrix(weights[i], features[i][0], features[i][1]);
    const bool rounds = weight.form == prge::Form::bfloat16;
    layer.projections[i] = {weight, {a[i], rounds}, {b[i], rounds}};
  }
  layer.attention_norm = norms[0];
  layer.feed_forward_norm = norms[1];
  layer.epsilon = epsilon;
  layer.query_cos = rotary[0];
  layer.query_sin = rotary[1];
  layer.key_cos = rotary[2];
  layer.key_sin = rotary[3];
  std::copy_n(vectors, prge::kVectors, layer.vectors);
  layer.gelu = gelu;
  return layer;
}

}  // namespace

extern "C" {

const char* prge_variant_name(uint64_t index) {
  const prge::SimdLoops* loops = prge::simd_variant(index);
  return loops == nullptr ? nullptr : loops->name;
}

int64_t prge_set_threads(uint32_t threads) { return runner::set_thread_count(threads); }

void prge_noise(uint64_t variant, int64_t distribution, const int64_t* key, int64_t query, int64_t first,
                int64_t count, float* out) {
  prge::fill_noise(*prge::simd_variant(variant), prge::Distribution(distribution), prge::noise_stream(key, query),
                   first, count, out);
}

void prge_perturb(int64_t distribution, const float* adapter, int64_t first, int64_t count, const int64_t* key,
                  float epsilon, int64_t first_query, int64_t queries, int64_t signs, float* out) {
  prge::perturb({adapter,
                 first,
                 count,
                 {key[0], key[1]},
                 epsilon,
                 first_query,
                 queries,
                 prge::Signs(signs),
                 prge::Distribution(distribution)},
                out);
}

void prge_update(int64_t distribution, const float* adapter, const float* gradient, int64_t queries,
                 const int64_t* key, float rate, int64_t count, float* out) {
  prge::update(adapter, gradient, queries, key, rate, count, out, prge::Distribution(distribution));
}

bool prge_linear_frozen(uint64_t variant, const float* x, int64_t rows, const Frozen* weight, int64_t out_features,
                        int64_t in_features, float* y) {
  return prge::linear_frozen(*prge::simd_variant(variant), x, rows, matrix(*weight, out_features, in_features), y);
}

// The product of x rounded to bfloat16, with the processor's instructions for that; false if it has none.
bool prge_linear_pairs(uint64_t variant, const float* x, int64_t rows, const Frozen* weight, int64_t out_features,
                       int64_t in_features, float* y) {
  const prge::SimdLoops* loops = prge::simd_variant(variant)->of_pairs;
  if (loops == nullptr) return false;
  std::vector<float> words(static_cast<size_t>(rows * in_features));
  for (int64_t row = 0; row < rows; ++row) {
    loops->round_bfloat16(x + row * in_features, in_features, words.data() + row * in_features);
  }
  return prge::linear_frozen(*loops, words.data(), rows, matrix(*weight, out_features, in_features), y);
}

// The product with the noise of `key` and `slot`, times `scale`, added to the weight.
bool prge_linear_perturbed(uint64_t variant, const float* x, int64_t rows, const Frozen* weight, int64_t out_features,
                           int64_t in_features, const int64_t* key, int64_t slot, float scale, float* y) {
  prge::FrozenMatrix perturbed = matrix(*weight, out_features, in_features);
  const prge::WeightNoise noise{prge::noise_stream(key, slot), scale};
  perturbed.noise = &noise;
  return prge::linear_frozen(*prge::simd_variant(variant), x, rows, perturbed, y);
}

// The updates of several consecutive steps, from that of `key` on, with a rate each.
void prge_move_weight(uint64_t variant, int64_t form, void* weight, int64_t count, const int64_t* key, int64_t slot,
                      const float* rates, int64_t steps) {
  for (int64_t i = 0; i < steps; ++i) {
    const int64_t own[2] = {key[0], key[1] + i};
    prge::move_weight(*prge::simd_variant(variant), prge::Form(form), weight, count, own, slot, rates[i]);
  }
}

int64_t prge_scratch_values(const int64_t* sizes) { return prge::scratch_values(layer_shape(sizes)); }

bool prge_decoder_layer(uint64_t variant, const int64_t* sizes, const Frozen* weights, const void* const* a,
                        const void* const* b, const float* const* norms, const float* const* rotary,
                        const float* const* vectors, bool gelu, float epsilon, const float* x, const float* bias,
                        float* scratch, float* out) {
  const prge::DecoderLayer layer = layer_of(sizes, weights, a, b, norms, rotary, vectors, gelu, epsilon);
  return prge::decoder_layer(*prge::simd_variant(variant), layer, x, bias, scratch, out);
}

int64_t prge_backward_scratch_values(const int64_t* sizes) {
  return prge::backward_scratch_values(layer_shape(sizes));
}

// `of_b` has an entry for each projection, null where it has no adapter.
bool prge_layer_backward(uint64_t variant, const int64_t* sizes, const Frozen* weights, const void* const* a,
                         const void* const* b, const float* const* norms, const float* const* rotary,
                         const float* const* vectors, bool gelu, float epsilon, const float* x, const float* bias,
                         const float* gradient, float* scratch, float* const* of_b, float* out) {
  const prge::DecoderLayer layer = layer_of(sizes, weights, a, b, norms, rotary, vectors, gelu, epsilon);
  return prge::layer_backward(*prge::simd_variant(variant), layer, x, bias, gradient, scratch, of_b, out);
}

bool prge_linear_frozen_back(uint64_t variant, const float* x, int64_t rows, const Frozen* weight,
                             int64_t out_features, int64_t in_features, float* y) {
  const prge::SimdLoops& loops = *prge::simd_variant(variant);
  return prge::linear_frozen_back(loops, x, rows, matrix(*weight, out_features, in_features), y);
}

void prge_answer_losses(uint64_t variant, const float* logits, int64_t rows, int64_t vocabulary, const int64_t* labels,
                        int64_t label_count, int64_t answers, float* out) {
  prge::answer_losses(*prge::simd_variant(variant), logits, rows, vocabulary, labels, label_count, answers, out);
}
}
