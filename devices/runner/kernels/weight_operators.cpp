// The operators for training a model's weights or scales (docs/contracts.md, "Operators of our own"), except the
// layer's, registered with ExecuTorch at start-up.
#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>

#include <algorithm>
#include <cinttypes>
#include <cstring>

#include "frozen_product.h"
#include "frozen_tensor.h"
#include "operator_checks.h"
#include "step_parts.h"
#include "weight_noise.h"
#include "weight_operators.h"

namespace prge {
namespace {

// Takes a matrix of float32 or float16, and its noise from the arguments key, eps, slot and sign.
bool take_perturbed(const Tensor& weight, EValue* const* noise, FrozenMatrix& matrix, WeightNoise& drawn) {
  return take_frozen(weight, {}, matrix) && matrix.in_features > 0 &&
         take_noise(noise[0]->toTensor(), noise[1]->toTensor(), noise[2]->toInt(), noise[3]->toInt(), matrix, drawn);
}

void embed_perturbed_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Tensor& tokens = stack[0]->toTensor();
  Tensor& out = stack[6]->toTensor();
  FrozenMatrix table;
  WeightNoise noise;
  ET_KERNEL_CHECK_MSG(ctx, take_perturbed(stack[1]->toTensor(), stack.data() + 2, table, noise) &&
                               tokens.scalar_type() == ScalarType::Long,
                      InvalidArgument, , "prge::embed_perturbed needs int64 tokens, a table of float32 or float16, an int64 key "
                      "of 2 values, one float32 eps, and a sign of 1 or -1");
  if (!are_rows(ctx, "prge::embed_perturbed", tokens, table.out_features)) return;
  const int64_t* token = tokens.const_data_ptr<int64_t>();
  ET_KERNEL_CHECK_MSG(ctx, shaped(out, ScalarType::Float, {1, tokens.numel(), table.in_features}), InvalidArgument, ,
                      "prge::embed_perturbed: the output is not float32 [1, %zd, %" PRId64 "]",
                      static_cast<ssize_t>(tokens.numel()), table.in_features);
  float* rows = out.mutable_data_ptr<float>();
  ET_KERNEL_CHECK_MSG(ctx, embed(table, token, tokens.numel(), 1, false, rows), MemoryAllocationFailed, ,
                      "prge::embed_perturbed: no memory for a row of the table");
  if (table.noise != nullptr) add_noise_of_rows(simd_loops(), table, token, tokens.numel(), rows);
}

void linear_perturbed_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Tensor& x = stack[0]->toTensor();
  Tensor& out = stack[6]->toTensor();
  FrozenMatrix weight;
  WeightNoise noise;
  ET_KERNEL_CHECK_MSG(ctx, take_perturbed(stack[1]->toTensor(), stack.data() + 2, weight, noise) && is_float(x, 2) &&
                               x.size(1) == weight.in_features &&
                               shaped(out, ScalarType::Float, {x.size(0), weight.out_features}),
                      InvalidArgument, , "prge::linear_perturbed needs float32 x [rows, in], a weight [out, in] of float32 or "
                      "float16, an int64 key of 2 values, one float32 eps, a sign of 1 or -1, and a float32 output "
                      "[rows, out]");
  ET_KERNEL_CHECK_MSG(ctx,
                      linear_frozen(simd_loops(), x.const_data_ptr<float>(), x.size(0), weight,
                                    out.mutable_data_ptr<float>()),
                      MemoryAllocationFailed, , "prge::linear_perturbed: no memory for a tile of the weight");
}

Tensor& move_weight_out(KernelRuntimeContext& ctx, const Tensor& weight, const Tensor& gradient, const Tensor& key,
                        const Tensor& lr, int64_t slot, Tensor& out) {
  const bool half = weight.scalar_type() == ScalarType::Half;
  ET_KERNEL_CHECK_MSG(ctx,
                      (half || weight.scalar_type() == ScalarType::Float) && is_scalar(gradient) && is_key(key) &&
                          is_scalar(lr) && is_slot(slot) && out.scalar_type() == weight.scalar_type() &&
                          out.sizes() == weight.sizes(),
                      InvalidArgument, out,
                      "prge::move_weight needs a weight of float32 or float16, one float32 gradient, an int64 key of 2 "
                      "values, one float32 lr, and an output like the weight");
  if (out.const_data_ptr() != weight.const_data_ptr()) {
    std::memcpy(out.mutable_data_ptr(), weight.const_data_ptr(), weight.nbytes());
  }
  move_weight(simd_loops(), half ? Form::float16 : Form::float32, out.mutable_data_ptr(), weight.numel(),
              key.const_data_ptr<int64_t>(), slot, *lr.const_data_ptr<float>() * *gradient.const_data_ptr<float>());
  return out;
}

// Values that are not numbers stay as they are, and end the training.
Tensor& clipped_out(KernelRuntimeContext& ctx, const Tensor& x, double limit, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx, is_float(x, 1) && limit >= 0.0 && shaped(out, ScalarType::Float, {x.numel()}),
                      InvalidArgument, out, "prge::clipped needs float32 x and output [n], and a limit of 0 or more");
  const auto most = static_cast<float>(limit);
  for (ssize_t i = 0; i < x.numel(); ++i) {
    out.mutable_data_ptr<float>()[i] = std::clamp(x.const_data_ptr<float>()[i], -most, most);
  }
  return out;
}

Tensor& scaled_out(KernelRuntimeContext& ctx, const Tensor& x, double factor, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx,
                      x.scalar_type() == ScalarType::Float && out.scalar_type() == ScalarType::Float &&
                          resize_tensor(out, x.sizes()) == Error::Ok,
                      InvalidArgument, out, "prge::scaled needs float32 x and an output like it");
  for (ssize_t i = 0; i < x.numel(); ++i) {
    out.mutable_data_ptr<float>()[i] = x.const_data_ptr<float>()[i] * static_cast<float>(factor);
  }
  return out;
}

const Kernel boxed[] = {
    Kernel("prge::embed_perturbed.out", embed_perturbed_boxed),
    Kernel("prge::linear_perturbed.out", linear_perturbed_boxed),
};
const Error boxed_registered = register_kernels(Span<const Kernel>(boxed));
EXECUTORCH_LIBRARY(prge, "move_weight.out", move_weight_out);
EXECUTORCH_LIBRARY(prge, "clipped.out", clipped_out);
EXECUTORCH_LIBRARY(prge, "scaled.out", scaled_out);

}  // namespace

bool is_slot(int64_t slot) { return slot >= 0 && slot < int64_t{1} << 31; }

bool take_noise(const Tensor& key, const Tensor& eps, int64_t slot, int64_t sign, FrozenMatrix& matrix,
                WeightNoise& noise) {
  if (!is_key(key) || !is_scalar(eps) || !is_slot(slot) || (sign != 1 && sign != -1)) return false;
  noise = {noise_stream(key.const_data_ptr<int64_t>(), slot),
           static_cast<float>(sign) * *eps.const_data_ptr<float>()};
  if (noise.scale != 0.0f) matrix.noise = &noise;  // an evaluation draws none
  return matrix.form == Form::float32 || matrix.form == Form::float16;
}

}  // namespace prge
