// The operators of a step by backpropagation (docs/contracts.md, "Operators of our own"), registered with ExecuTorch at
// start-up.
#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>

#include <cinttypes>
#include <cstring>

#include "backprop_parts.h"
#include "frozen_product.h"
#include "frozen_tensor.h"
#include "operator_checks.h"

namespace prge {
namespace {

Tensor& loss_gradient_out(KernelRuntimeContext& ctx, const Tensor& logits, const Tensor& labels, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx,
                      is_float(logits, 2) && is_long(labels, 2) && labels.numel() == logits.size(0) &&
                          shaped(out, ScalarType::Float, {logits.size(0), logits.size(1)}),
                      InvalidArgument, out,
                      "prge::loss_gradient needs float32 logits and output [b * K, vocabulary], int64 labels [b, K]");
  const int64_t* label = labels.const_data_ptr<int64_t>();
  for (ssize_t i = 0; i < labels.numel(); ++i) {
    ET_KERNEL_CHECK_MSG(ctx, label[i] >= -1 && label[i] < logits.size(1), InvalidArgument, out,
                        "prge::loss_gradient: label %" PRId64 " is not among %zd tokens", label[i],
                        static_cast<ssize_t>(logits.size(1)));
  }
  loss_gradient(simd_loops(), logits.const_data_ptr<float>(), logits.size(0), logits.size(1), label,
                out.mutable_data_ptr<float>());
  return out;
}

void linear_frozen_back_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Tensor& gradient = stack[0]->toTensor();
  Tensor& out = stack[3]->toTensor();
  FrozenMatrix matrix;
  ET_KERNEL_CHECK_MSG(ctx,
                      take_frozen(stack[1]->toTensor(), stack[2]->toTensorList(), matrix) && is_float(gradient, 2) &&
                          gradient.size(1) == matrix.out_features &&
                          shaped(out, ScalarType::Float, {gradient.size(0), matrix.in_features}),
                      InvalidArgument, ,
                      "prge::linear_frozen_back needs float32 gradient [rows, out] and output [rows, in], and a frozen "
                      "weight [out, in]");
  ET_KERNEL_CHECK_MSG(ctx,
                      linear_frozen_back(simd_loops(), gradient.const_data_ptr<float>(), gradient.size(0), matrix,
                                         out.mutable_data_ptr<float>()),
                      MemoryAllocationFailed, , "prge::linear_frozen_back: no memory for a tile of the weight");
}

Tensor& rms_norm_back_out(KernelRuntimeContext& ctx, const Tensor& gradient, const Tensor& x, const Tensor& weight,
                          double epsilon, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx,
                      is_float(gradient, 2) && is_float(x, 2) && x.sizes() == gradient.sizes() &&
                          is_float(weight, 1) && weight.numel() == x.size(1) &&
                          shaped(out, ScalarType::Float, {x.size(0), x.size(1)}),
                      InvalidArgument, out,
                      "prge::rms_norm_back needs float32 gradient, x and output [rows, hidden], weight [hidden]");
  for (ssize_t row = 0; row < x.size(0); ++row) {
    rms_norm_back(gradient.const_data_ptr<float>() + row * x.size(1), x.const_data_ptr<float>() + row * x.size(1),
                  weight.const_data_ptr<float>(), static_cast<float>(epsilon), x.size(1),
                  out.mutable_data_ptr<float>() + row * x.size(1));
  }
  return out;
}

Tensor& spread_rows_out(KernelRuntimeContext& ctx, const Tensor& x, int64_t length, int64_t answers, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx,
                      is_float(x, 2) && answers > 0 && answers <= length && x.size(0) % answers == 0 &&
                          shaped(out, ScalarType::Float, {1, x.size(0) / answers * length, x.size(1)}),
                      InvalidArgument, out,
                      "prge::spread_rows needs float32 x [b * K, hidden] and output [1, b * T, hidden]");
  const int64_t part = answers * x.size(1), whole = length * x.size(1);
  const float* from = x.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  std::memset(to, 0, out.nbytes());
  for (int64_t sequence = 0; sequence < x.size(0) / answers; ++sequence) {
    std::memcpy(to + (sequence + 1) * whole - part, from + sequence * part, static_cast<size_t>(part) * sizeof(float));
  }
  return out;
}

// Copies the values of `flat` to `out`, which may be the same memory. False unless both are flat float32.
bool continued(const Tensor& flat, Tensor& out) {
  if (!is_float(flat, 1) || !shaped(out, ScalarType::Float, {flat.numel()})) return false;
  if (out.const_data_ptr() != flat.const_data_ptr()) std::memcpy(out.mutable_data_ptr(), flat.const_data_ptr(), flat.nbytes());
  return true;
}

// Whether the gradients, one after the other, fit into `flat` from `offset` on.
bool lie_within(const Tensor& flat, ArrayRef<Tensor> gradients, int64_t offset) {
  int64_t left = flat.numel() - offset;
  bool fit = offset >= 0;
  for (const Tensor& gradient : gradients) {
    fit = fit && gradient.scalar_type() == ScalarType::Float;
    left -= gradient.numel();
  }
  return fit && left >= 0;
}

void descend_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const ArrayRef<Tensor> gradients = stack[1]->toTensorList();
  const Tensor& lr = stack[2]->toTensor();
  int64_t offset = stack[3]->toInt();
  Tensor& out = stack[4]->toTensor();
  ET_KERNEL_CHECK_MSG(ctx, is_scalar(lr) && continued(stack[0]->toTensor(), out) && lie_within(out, gradients, offset),
                      InvalidArgument, ,
                      "prge::descend needs a flat float32 adapter, gradients that fit into it and one float32 lr");
  for (const Tensor& gradient : gradients) {
    descend(gradient.const_data_ptr<float>(), gradient.numel(), *lr.const_data_ptr<float>(),
            out.mutable_data_ptr<float>() + offset);
    offset += gradient.numel();
  }
}

void moving_mean_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const ArrayRef<Tensor> gradients = stack[1]->toTensorList();
  int64_t offset = stack[2]->toInt();
  Tensor& out = stack[5]->toTensor();
  ET_KERNEL_CHECK_MSG(ctx, continued(stack[0]->toTensor(), out) && lie_within(out, gradients, offset), InvalidArgument, ,
                      "prge::moving_mean needs a flat float32 mean and gradients that fit into it");
  for (const Tensor& gradient : gradients) {
    move_mean(gradient.const_data_ptr<float>(), gradient.numel(), static_cast<float>(stack[3]->toDouble()),
              stack[4]->toBool(), out.mutable_data_ptr<float>() + offset);
    offset += gradient.numel();
  }
}

void adam_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Tensor &first = stack[1]->toTensor(), &second = stack[2]->toTensor(), &key = stack[3]->toTensor();
  const Tensor& lr = stack[4]->toTensor();
  const ArrayRef<double> betas = stack[5]->toDoubleList();
  Tensor& out = stack[7]->toTensor();
  ET_KERNEL_CHECK_MSG(ctx,
                      is_float(first, 1) && is_float(second, 1) && is_key(key) && is_scalar(lr) && betas.size() == 2 &&
                          continued(stack[0]->toTensor(), out) && first.numel() == out.numel() &&
                          second.numel() == out.numel(),
                      InvalidArgument, ,
                      "prge::adam needs a flat float32 adapter with two moments, an int64 key of 2 values, one float32 "
                      "lr and two betas");
  const AdamStep step{*lr.const_data_ptr<float>(), betas[0], betas[1], stack[6]->toDouble(),
                      key.const_data_ptr<int64_t>()[1] + 1};
  adam(step, first.const_data_ptr<float>(), second.const_data_ptr<float>(), out.numel(), out.mutable_data_ptr<float>());
}

// The library's own wrapper does not support lists of tensors beside other arguments.
const Kernel boxed[] = {
    Kernel("prge::linear_frozen_back.out", linear_frozen_back_boxed),
    Kernel("prge::descend.out", descend_boxed),
    Kernel("prge::moving_mean.out", moving_mean_boxed),
    Kernel("prge::adam.out", adam_boxed),
};
const Error boxed_registered = register_kernels(Span<const Kernel>(boxed));
EXECUTORCH_LIBRARY(prge, "loss_gradient.out", loss_gradient_out);
EXECUTORCH_LIBRARY(prge, "rms_norm_back.out", rms_norm_back_out);
EXECUTORCH_LIBRARY(prge, "spread_rows.out", spread_rows_out);

}  // namespace
}  // namespace prge
