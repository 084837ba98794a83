// prge::decoder_layer, prge::general_layer, their backward passes, and prge::perturbed_layer (docs/contracts.md,
// "Operators of our own"), registered with ExecuTorch at start-up.
#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>

#include <cinttypes>

#include "decoder_layer.h"
#include "frozen_tensor.h"
#include "layer_backward.h"
#include "operator_checks.h"
#include "weight_operators.h"

namespace prge {
namespace {

struct Arguments {
  const char* name;  // of the operator
  const Tensor& x;
  const Tensor& bias;
  const Tensor& scratch;
  ArrayRef<Tensor> norms, rotary, weights, scales, lora_a, lora_b;
  ArrayRef<int64_t> adapted;
  int64_t heads, kv_heads;
  double epsilon;
  ArrayRef<Tensor> vectors;
  ArrayRef<int64_t> places;
  bool gelu;
};

constexpr int kPlainArguments = 10;    // of an operator, after x, bias, scratch and gradient
constexpr int kGeneralArguments = 13;  // the same for one with vectors

// The arguments: x, bias and scratch, then those that all operators have after them, then those that only general ones
// have.
Arguments arguments(const char* name, EValue* const* first, EValue* const* rest, bool general) {
  Arguments args{name,
          first[0]->toTensor(),
          first[1]->toTensor(),
          first[2]->toTensor(),
          rest[0]->toTensorList(),
          rest[1]->toTensorList(),
          rest[2]->toTensorList(),
          rest[3]->toTensorList(),
          rest[4]->toTensorList(),
          rest[5]->toTensorList(),
          rest[6]->toIntList(),
          rest[7]->toInt(),
          rest[8]->toInt(),
          rest[9]->toDouble(),
          {},
          {},
          false};
  if (general) {
    args.vectors = rest[10]->toTensorList();
    args.places = rest[11]->toIntList();
    args.gelu = rest[12]->toBool();
  }
  return args;
}

const float* values(const Tensor& tensor) { return tensor.const_data_ptr<float>(); }

// Sizes of the layer; zero rows if the arguments don't determine them.
LayerShape shape_of(const Arguments& args) {
  LayerShape shape{};
  if (!is_float(args.x, 3) || args.rotary.size() != 4 || !is_float(args.rotary[0], 3) || args.weights.size() != 7 ||
      args.weights[kGate].dim() != 2 || args.heads <= 0 || args.kv_heads <= 0) {
    return shape;
  }
  shape.rows_per_slice = args.x.size(1);
  shape.length = args.rotary[2].dim() == 3 ? args.rotary[2].size(0) : 0;
  shape.results = args.rotary[0].size(0);
  shape.hidden = args.x.size(2);
  shape.intermediate = args.weights[kGate].size(0);
  shape.heads = args.heads;
  shape.kv_heads = args.kv_heads;
  shape.head_dim = args.rotary[0].size(2);
  shape.rank = args.lora_a.empty() || args.lora_a[0].dim() != 2 ? 0 : args.lora_a[0].size(0);
  const bool whole = shape.results > 0 && shape.length >= shape.results && shape.rows_per_slice % shape.length == 0 &&
                     shape.head_dim % 2 == 0 && shape.hidden > 0 && shape.intermediate > 0 &&
                     shape.heads % shape.kv_heads == 0;
  shape.rows = whole ? args.x.size(0) * shape.rows_per_slice : 0;
  return shape;
}

bool take_tables(const Arguments& args, DecoderLayer& layer) {
  const LayerShape& shape = layer.shape;
  if (args.norms.size() != 2) return false;
  for (const Tensor& norm : args.norms) {
    if (!is_float(norm, 1) || norm.numel() != shape.hidden) return false;
  }
  for (size_t i = 0; i < args.rotary.size(); ++i) {
    const int64_t positions = i < 2 ? shape.results : shape.length;
    if (!is_float(args.rotary[i], 3) || args.rotary[i].numel() != positions * shape.head_dim) return false;
  }
  layer.attention_norm = values(args.norms[0]);
  layer.feed_forward_norm = values(args.norms[1]);
  layer.query_cos = values(args.rotary[0]);
  layer.query_sin = values(args.rotary[1]);
  layer.key_cos = values(args.rotary[2]);
  layer.key_sin = values(args.rotary[3]);
  return args.bias.scalar_type() == ScalarType::Float &&
         args.bias.numel() == shape.sequences() * shape.length * shape.length;
}

bool take_vectors(const Arguments& args, DecoderLayer& layer) {
  LayerShape& shape = layer.shape;
  const int64_t query = shape.heads * shape.head_dim, key = shape.kv_heads * shape.head_dim;
  const int64_t sizes[kVectors] = {query, key, key, shape.head_dim, shape.head_dim, shape.hidden, shape.hidden};
  if (args.vectors.size() != args.places.size()) return false;
  for (size_t i = 0; i < args.places.size(); ++i) {
    const int64_t place = args.places[i];
    if (place < 0 || place >= kVectors || layer.vectors[place] != nullptr || !is_float(args.vectors[i], 1) ||
        args.vectors[i].numel() != sizes[place]) {
      return false;
    }
    layer.vectors[place] = values(args.vectors[i]);
    shape.head_norms |= place == kQueryNorm || place == kKeyNorm;
    shape.result_norms |= place == kAttentionResult || place == kFeedForwardResult;
  }
  return true;
}

bool take_weights(const Arguments& args, DecoderLayer& layer) {
  const LayerShape& shape = layer.shape;
  const int64_t query = shape.heads * shape.head_dim, key = shape.kv_heads * shape.head_dim;
  const int64_t out[kProjections] = {query, key, key, shape.hidden, shape.intermediate, shape.intermediate,
                                     shape.hidden};
  const int64_t in[kProjections] = {shape.hidden, shape.hidden, shape.hidden, query, shape.hidden, shape.hidden,
                                    shape.intermediate};
  const size_t each = args.scales.size() / kProjections;
  if (args.weights.size() != kProjections || args.scales.size() != each * kProjections) return false;
  for (size_t i = 0; i < kProjections; ++i) {
    FrozenMatrix& weight = layer.projections[i].weight;
    const ArrayRef<Tensor> scales(args.scales.data() + i * each, each);
    if (!take_frozen(args.weights[i], scales, weight) || weight.form != layer.projections[0].weight.form ||
        weight.out_features != out[i] || weight.in_features != in[i]) {
      return false;
    }
    weight.projection = static_cast<int>(i);
  }
  return true;
}

bool is_operand(const Tensor& tensor, ssize_t dimensions, ScalarType type) {
  return tensor.scalar_type() == type && tensor.dim() == dimensions;
}

bool take_adapters(const Arguments& args, DecoderLayer& layer) {
  const LayerShape& shape = layer.shape;
  const ScalarType type = layer.rounds() ? ScalarType::BFloat16 : ScalarType::Float;
  if (args.lora_a.size() != args.adapted.size() || args.lora_b.size() != args.adapted.size()) return false;
  for (size_t i = 0; i < args.adapted.size(); ++i) {
    const Tensor &a = args.lora_a[i], &b = args.lora_b[i];
    if (args.adapted[i] < 0 || args.adapted[i] >= kProjections) return false;
    AdaptedWeight& projection = layer.projections[args.adapted[i]];
    if (projection.b.values != nullptr || !is_operand(a, 2, type) || a.size(0) != shape.rank || shape.rank == 0 ||
        a.size(1) != projection.weight.in_features || !is_operand(b, 3, type) ||
        b.size(0) * shape.rows_per_slice != shape.rows || b.size(1) != shape.rank ||
        b.size(2) != projection.weight.out_features) {
      return false;
    }
    projection.a = {a.const_data_ptr(), layer.rounds()};
    projection.b = {b.const_data_ptr(), layer.rounds()};
  }
  return true;
}

// Takes a layer from the arguments; if it can't, fails `ctx` with a sentence and returns false.
bool take_layer(KernelRuntimeContext& ctx, const Arguments& args, int64_t (*scratch_values)(const LayerShape&),
                DecoderLayer& layer) {
  layer.shape = shape_of(args);
  layer.epsilon = static_cast<float>(args.epsilon);
  layer.gelu = args.gelu;
  ET_KERNEL_CHECK_MSG(ctx, layer.shape.rows > 0, InvalidArgument, false,
                      "%s needs float32 x [slices, rows of whole sequences, hidden], four tables "
                      "[T, 1, head_dim], seven weights, and heads that kv_heads divides", args.name);
  ET_KERNEL_CHECK_MSG(ctx, take_tables(args, layer), InvalidArgument, false,
                      "%s: norms, rotary tables or bias do not fit x of %" PRId64
                      " rows and %" PRId64 " features",
                      args.name, layer.shape.rows, layer.shape.hidden);
  ET_KERNEL_CHECK_MSG(ctx, take_vectors(args, layer), InvalidArgument, false,
                      "%s: a vector does not fit its place, %" PRId64 " features or heads of %" PRId64, args.name,
                      layer.shape.hidden, layer.shape.head_dim);
  ET_KERNEL_CHECK_MSG(ctx, take_weights(args, layer), InvalidArgument, false,
                      "%s: a weight or its scales do not fit %" PRId64 " features, %" PRId64
                      " heads and %" PRId64 " wide features",
                      args.name, layer.shape.hidden, layer.shape.heads, layer.shape.intermediate);
  ET_KERNEL_CHECK_MSG(ctx, take_adapters(args, layer), InvalidArgument, false,
                      "%s: an adapter of rank %" PRId64 " does not fit its projection or the slices",
                      args.name, layer.shape.rank);
  ET_KERNEL_CHECK_MSG(ctx, is_float(args.scratch, 1) && args.scratch.numel() >= scratch_values(layer.shape),
                      InvalidArgument, false, "%s: scratch has %zd values instead of %" PRId64,
                      args.name, static_cast<ssize_t>(args.scratch.numel()), scratch_values(layer.shape));
  return true;
}

void compute_layer(KernelRuntimeContext& ctx, const Arguments& args, const DecoderLayer& layer, Tensor& out) {
  const LayerShape results = layer.shape.of_results();
  ET_KERNEL_CHECK_MSG(ctx,
                      shaped(out, ScalarType::Float, {args.x.size(0), results.rows_per_slice, results.hidden}) &&
                          (layer.shape.makes_all() || out.const_data_ptr() != args.x.const_data_ptr()),
                      InvalidArgument, ,
                      "%s: the output is not float32 [slices, rows with results, hidden], or overlaps x without having "
                      "its shape", args.name);
  ET_KERNEL_CHECK_MSG(ctx,
                      decoder_layer(simd_loops(), layer, values(args.x), values(args.bias),
                                    args.scratch.mutable_data_ptr<float>(), out.mutable_data_ptr<float>()),
                      MemoryAllocationFailed, , "%s: no memory for a thread's buffer", args.name);
}

void compute_layer(KernelRuntimeContext& ctx, const Arguments& args, Tensor& out) {
  DecoderLayer layer{};
  if (take_layer(ctx, args, scratch_values, layer)) compute_layer(ctx, args, layer, out);
}

// Whether the results are shaped like x and like each adapter's B; `of_b` gets the addresses of the latter.
bool take_results(const Arguments& args, ArrayRef<Tensor> outs, float** of_b) {
  if (outs.size() != 1 + args.adapted.size()) return false;
  for (size_t i = 0; i < outs.size(); ++i) {
    Tensor out = outs[i];
    const Tensor& like = i == 0 ? args.x : args.lora_b[i - 1];
    if (!is_float(out, 3) || resize_tensor(out, like.sizes()) != Error::Ok) return false;
    if (i > 0) of_b[args.adapted[i - 1]] = out.mutable_data_ptr<float>();
  }
  return true;
}

void go_back(KernelRuntimeContext& ctx, const Arguments& args, const Tensor& gradient, const ArrayRef<Tensor>& outs) {
  DecoderLayer layer{};
  float* of_b[kProjections] = {};
  if (!take_layer(ctx, args, backward_scratch_values, layer)) return;
  ET_KERNEL_CHECK_MSG(ctx, layer.shape.rows == layer.shape.rows_per_slice && layer.shape.makes_all() &&
                               is_float(gradient, 3) &&
                               gradient.sizes() == args.x.sizes() && take_results(args, outs, of_b),
                      InvalidArgument, ,
                      "%s needs one slice, a float32 gradient like x, and float32 outputs like x and like each B",
                      args.name);
  Tensor out = outs[0];
  ET_KERNEL_CHECK_MSG(ctx,
                      layer_backward(simd_loops(), layer, values(args.x), values(args.bias), values(gradient),
                                     args.scratch.mutable_data_ptr<float>(), of_b, out.mutable_data_ptr<float>()),
                      MemoryAllocationFailed, , "%s: no memory for a thread's buffer", args.name);
}

// The library's own wrapper does not support lists of so many types.
void decoder_layer_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Arguments args = arguments("prge::decoder_layer", stack.data(), stack.data() + 3, false);
  compute_layer(ctx, args, stack[3 + kPlainArguments]->toTensor());
}

void general_layer_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Arguments args = arguments("prge::general_layer", stack.data(), stack.data() + 3, true);
  compute_layer(ctx, args, stack[3 + kGeneralArguments]->toTensor());
}

void decoder_layer_back_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Arguments args = arguments("prge::decoder_layer_back", stack.data(), stack.data() + 4, false);
  go_back(ctx, args, stack[3]->toTensor(), stack[4 + kPlainArguments]->toTensorList());
}

void general_layer_back_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Arguments args = arguments("prge::general_layer_back", stack.data(), stack.data() + 4, true);
  go_back(ctx, args, stack[3]->toTensor(), stack[4 + kGeneralArguments]->toTensorList());
}

// A general layer of perturbed weights: key, eps, the slot of each projection and a sign come before its other
// arguments.
void perturbed_layer_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Arguments args = arguments("prge::perturbed_layer", stack.data(), stack.data() + 7, true);
  const ArrayRef<int64_t> slots = stack[5]->toIntList();
  DecoderLayer layer{};
  WeightNoise noises[kProjections];
  if (!take_layer(ctx, args, scratch_values, layer)) return;
  bool fit = slots.size() == kProjections;
  for (size_t i = 0; fit && i < kProjections; ++i) {
    fit = take_noise(stack[3]->toTensor(), stack[4]->toTensor(), slots[i], stack[6]->toInt(),
                     layer.projections[i].weight, noises[i]);
  }
  ET_KERNEL_CHECK_MSG(ctx, fit, InvalidArgument, ,
                      "%s needs weights of float32 or float16 with a slot each, an int64 key of 2 values, one float32 "
                      "eps, and a sign of 1 or -1", args.name);
  compute_layer(ctx, args, layer, stack[7 + kGeneralArguments]->toTensor());
}

const Kernel boxed[] = {
    Kernel("prge::perturbed_layer.out", perturbed_layer_boxed),
    Kernel("prge::decoder_layer.out", decoder_layer_boxed),
    Kernel("prge::decoder_layer_back.out", decoder_layer_back_boxed),
    Kernel("prge::general_layer.out", general_layer_boxed),
    Kernel("prge::general_layer_back.out", general_layer_back_boxed),
};
const Error boxed_registered = register_kernels(Span<const Kernel>(boxed));

}  // namespace
}  // namespace prge
