// The operators around the decoder layers (docs/contracts.md, "Operators of our own"), registered with ExecuTorch at
// start-up.
#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>

#include <cinttypes>
#include <cmath>
#include <cstring>

#include "frozen_tensor.h"
#include "operator_checks.h"
#include "step_parts.h"

namespace prge {
namespace {

void embed_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Tensor& tokens = stack[0]->toTensor();
  const Tensor& values = stack[1]->toTensor();
  const int64_t slices = stack[3]->toInt();
  Tensor& out = stack[5]->toTensor();
  FrozenMatrix table;
  ET_KERNEL_CHECK_MSG(ctx, take_frozen(values, stack[2]->toTensorList(), table) && table.in_features > 0,
                      InvalidArgument, , "prge::embed: the table has no known form, or its scales don't fit it");
  ET_KERNEL_CHECK_MSG(ctx, tokens.scalar_type() == ScalarType::Long && slices > 0, InvalidArgument, ,
                      "prge::embed needs int64 tokens and at least one slice");
  if (!are_rows(ctx, "prge::embed", tokens, table.out_features)) return;
  const int64_t* token = tokens.const_data_ptr<int64_t>();
  ET_KERNEL_CHECK_MSG(ctx, shaped(out, ScalarType::Float, {slices, tokens.numel(), table.in_features}),
                      InvalidArgument, , "prge::embed: the output is not float32 [%" PRId64 ", %zd, %" PRId64 "]", slices,
                      static_cast<ssize_t>(tokens.numel()), table.in_features);
  ET_KERNEL_CHECK_MSG(ctx, embed(table, token, tokens.numel(), slices, stack[4]->toBool(), out.mutable_data_ptr<float>()),
                      MemoryAllocationFailed, , "prge::embed: no memory for a row of the table");
}

void attention_bias_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Tensor& first = stack[0]->toTensor();
  const int64_t length = stack[1]->toInt(), slices = stack[2]->toInt();
  Tensor& out = stack[3]->toTensor();
  ET_KERNEL_CHECK_MSG(ctx,
                      is_long(first, 1) && length > 0 && slices > 0 &&
                          shaped(out, ScalarType::Float, {slices * first.numel(), 1, 1, length, length}),
                      InvalidArgument, ,
                      "prge::attention_bias needs int64 first [b] and a float32 output [slices * b, 1, 1, T, T]");
  attention_bias(first.const_data_ptr<int64_t>(), first.numel(), length, slices, out.mutable_data_ptr<float>());
}

Tensor& answer_rows_out(KernelRuntimeContext& ctx, const Tensor& x, int64_t length, int64_t answers, Tensor& out) {
  const int64_t hidden = x.dim() == 3 ? x.size(2) : 0;
  const int64_t rows = hidden > 0 ? x.numel() / hidden : 0;
  ET_KERNEL_CHECK_MSG(ctx,
                      hidden > 0 && length > 0 && rows % length == 0 && answers > 0 && answers <= length &&
                          shaped(out, x.scalar_type(), {rows / length * answers, hidden}),
                      InvalidArgument, out,
                      "prge::answer_rows needs x [slices, rows of whole sequences, hidden] and an output "
                      "[sequences * answers, hidden] of its type");
  const size_t row = static_cast<size_t>(hidden) * x.element_size();
  const auto* from = static_cast<const char*>(x.const_data_ptr());
  auto* to = static_cast<char*>(out.mutable_data_ptr());
  for (int64_t sequence = 0; sequence < rows / length; ++sequence) {
    std::memcpy(to + static_cast<size_t>(sequence * answers) * row,
                from + static_cast<size_t>((sequence + 1) * length - answers) * row, static_cast<size_t>(answers) * row);
  }
  return out;
}

Tensor& rms_norm_out(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& weight, double epsilon, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx,
                      is_float(x, 2) && is_float(weight, 1) && weight.numel() == x.size(1) &&
                          shaped(out, ScalarType::Float, {x.size(0), x.size(1)}),
                      InvalidArgument, out, "prge::rms_norm needs float32 x and output [rows, hidden], weight [hidden]");
  for (ssize_t row = 0; row < x.size(0); ++row) {
    simd_loops().normalize(x.const_data_ptr<float>() + row * x.size(1), weight.const_data_ptr<float>(),
                           static_cast<float>(epsilon), x.size(1), out.mutable_data_ptr<float>() + row * x.size(1));
  }
  return out;
}

Tensor& answer_losses_out(KernelRuntimeContext& ctx, const Tensor& logits, const Tensor& labels, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx,
                      is_float(logits, 2) && is_long(labels, 2) &&
                          labels.numel() > 0 && logits.size(0) % labels.numel() == 0 &&
                          shaped(out, ScalarType::Float, {logits.size(0) / labels.numel(), labels.size(0)}),
                      InvalidArgument, out,
                      "prge::answer_losses needs float32 logits [slices * b * K, vocabulary], int64 labels [b, K] and a float32 "
                      "output [slices, b]");
  const int64_t* label = labels.const_data_ptr<int64_t>();
  for (ssize_t i = 0; i < labels.numel(); ++i) {
    ET_KERNEL_CHECK_MSG(ctx, label[i] >= -1 && label[i] < logits.size(1), InvalidArgument, out,
                        "prge::answer_losses: label %" PRId64 " is not among %zd tokens", label[i],
                        static_cast<ssize_t>(logits.size(1)));
  }
  answer_losses(simd_loops(), logits.const_data_ptr<float>(), logits.size(0), logits.size(1), label, labels.numel(),
                labels.size(1), out.mutable_data_ptr<float>());
  return out;
}

// A chunk has slices of one sign, or of both: then those of + come first.
void collect_losses_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const ArrayRef<Tensor> parts = stack[0]->toTensorList();
  const ArrayRef<int64_t> signs = stack[1]->toIntList();
  Tensor& out = stack[2]->toTensor();
  int64_t slices[2] = {0, 0};
  bool fit = !parts.empty() && parts.size() == signs.size();
  for (size_t i = 0; fit && i < parts.size(); ++i) {
    fit = is_float(parts[i], 2) && parts[i].size(1) == parts[0].size(1) && signs[i] >= -1 && signs[i] <= 1 &&
          (signs[i] != 0 || parts[i].size(0) % 2 == 0);
    if (fit && signs[i] >= 0) slices[0] += signs[i] == 0 ? parts[i].size(0) / 2 : parts[i].size(0);
    if (fit && signs[i] <= 0) slices[1] += signs[i] == 0 ? parts[i].size(0) / 2 : parts[i].size(0);
  }
  const int64_t sides = slices[1] == 0 ? 1 : 2;
  fit = fit && (sides == 1 || slices[0] == slices[1]) &&
        shaped(out, ScalarType::Float, {sides, slices[0], parts[0].size(1)});
  ET_KERNEL_CHECK_MSG(ctx, fit, InvalidArgument, ,
                      "prge::collect_losses needs float32 parts [slices, b] with as many slices of + as of - or none "
                      "of -, and a float32 output [2, q, b] or [1, slices, b]");
  float* plus = out.mutable_data_ptr<float>();
  float* minus = plus + out.numel() / 2;
  for (size_t i = 0; i < parts.size(); ++i) {
    const float* from = parts[i].const_data_ptr<float>();
    const ssize_t count = parts[i].numel() / (signs[i] == 0 ? 2 : 1);
    if (signs[i] >= 0) {
      std::memcpy(plus, from, static_cast<size_t>(count) * sizeof(float));
      plus += count;
      from += count;
    }
    if (signs[i] <= 0) {
      std::memcpy(minus, from, static_cast<size_t>(count) * sizeof(float));
      minus += count;
    }
  }
}

Tensor& mean_losses_out(KernelRuntimeContext& ctx, const Tensor& row_losses, const Tensor& labels, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx,
                      is_float(row_losses, 3) && labels.scalar_type() == ScalarType::Long &&
                          shaped(out, ScalarType::Float, {row_losses.size(0), row_losses.size(1)}),
                      InvalidArgument, out,
                      "prge::mean_losses needs float32 losses [s, q, b], int64 labels and a float32 output [s, q]");
  float answers = 0.0f;
  for (ssize_t i = 0; i < labels.numel(); ++i) answers += labels.const_data_ptr<int64_t>()[i] >= 0 ? 1.0f : 0.0f;
  const float* from = row_losses.const_data_ptr<float>();
  for (ssize_t i = 0; i < out.numel(); ++i) {
    float sum = 0.0f;
    for (ssize_t row = 0; row < row_losses.size(2); ++row) sum += *from++;
    out.mutable_data_ptr<float>()[i] = sum / answers;
  }
  return out;
}

Tensor& gradient_out(KernelRuntimeContext& ctx, const Tensor& losses, const Tensor& eps, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx,
                      is_float(losses, 2) && losses.size(0) == 2 && eps.scalar_type() == ScalarType::Float &&
                          eps.numel() == 1 && shaped(out, ScalarType::Float, {losses.size(1)}),
                      InvalidArgument, out,
                      "prge::gradient needs float32 losses [2, q], one float32 eps and a float32 output [q]");
  const float epsilon = *eps.const_data_ptr<float>();
  const float* plus = losses.const_data_ptr<float>();
  for (ssize_t i = 0; i < out.numel(); ++i) {
    const float difference = plus[i] - plus[out.numel() + i];
    out.mutable_data_ptr<float>()[i] = epsilon > 0.0f ? difference / (2.0f * epsilon) : difference * 0.0f;
  }
  return out;
}

// FZOO's gradient: the one-sided slopes, divided by the standard deviation of the perturbed losses.
Tensor& normalised_gradient_out(KernelRuntimeContext& ctx, const Tensor& losses, const Tensor& eps, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx,
                      is_float(losses, 2) && losses.size(0) == 1 && losses.size(1) > 2 &&
                          eps.scalar_type() == ScalarType::Float && eps.numel() == 1 &&
                          shaped(out, ScalarType::Float, {losses.size(1) - 1}),
                      InvalidArgument, out,
                      "prge::normalised_gradient needs float32 losses [1, 1 + q] of two queries or more, one float32 eps "
                      "and a float32 output [q]");
  const float epsilon = *eps.const_data_ptr<float>();
  const float* base = losses.const_data_ptr<float>();
  const float* perturbed = base + 1;
  const ssize_t queries = out.numel();
  float mean = 0.0f, squares = 0.0f;
  for (ssize_t i = 0; i < queries; ++i) mean += (perturbed[i] - *base) / static_cast<float>(queries);
  for (ssize_t i = 0; i < queries; ++i) {
    const float distance = perturbed[i] - *base - mean;
    squares += distance * distance;
  }
  const float deviation = std::sqrt(squares / static_cast<float>(queries - 1));
  const float divisor = epsilon > 0.0f && deviation > 0.0f ? epsilon * deviation : 0.0f;
  for (ssize_t i = 0; i < queries; ++i) {
    out.mutable_data_ptr<float>()[i] = divisor > 0.0f ? (perturbed[i] - *base) / divisor : 0.0f;
  }
  return out;
}

// The library's own wrapper supports neither lists of tensors nor booleans beside them.
const Kernel boxed[] = {
    Kernel("prge::embed.out", embed_boxed),
    Kernel("prge::attention_bias.out", attention_bias_boxed),
    Kernel("prge::collect_losses.out", collect_losses_boxed),
};
const Error boxed_registered = register_kernels(Span<const Kernel>(boxed));
EXECUTORCH_LIBRARY(prge, "answer_rows.out", answer_rows_out);
EXECUTORCH_LIBRARY(prge, "rms_norm.out", rms_norm_out);
EXECUTORCH_LIBRARY(prge, "answer_losses.out", answer_losses_out);
EXECUTORCH_LIBRARY(prge, "mean_losses.out", mean_losses_out);
EXECUTORCH_LIBRARY(prge, "gradient.out", gradient_out);
EXECUTORCH_LIBRARY(prge, "normalised_gradient.out", normalised_gradient_out);

}  // namespace
}  // namespace prge
