// The operators of namespace `prge` (docs/contracts.md, "Operators of our own"), registered with ExecuTorch at
// start-up. A wrong argument fails the operator with a sentence in the log; the runner puts that into its footer.
#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>

#include <cinttypes>

#include "frozen_product.h"
#include "frozen_tensor.h"
#include "noise.h"
#include "operator_checks.h"

namespace prge {
namespace {

using executorch::aten::BFloat16;
using executorch::aten::Half;

// One slot's perturbed B, written as float32 or rounded to the output's type.
void perturb_slot(const Perturbation& slot, Tensor& out) {
  if (out.scalar_type() == ScalarType::Half) {
    perturb(slot, out.mutable_data_ptr<Half>());
  } else if (out.scalar_type() == ScalarType::BFloat16) {
    perturb(slot, out.mutable_data_ptr<BFloat16>());
  } else {
    perturb(slot, out.mutable_data_ptr<float>());
  }
}

void perturb_out(KernelRuntimeContext& ctx, const Tensor& adapter, const Tensor& key, const Tensor& eps,
                 const Tensor& /*after: orders the graph*/, int64_t offset, int64_t rank, ArrayRef<int64_t> features,
                 int64_t first_query, int64_t queries, int64_t signs, ScalarType type, ArrayRef<Tensor> out,
                 Distribution distribution) {
  ET_KERNEL_CHECK_MSG(ctx, is_float(adapter, 1) && is_key(key) && is_scalar(eps), InvalidArgument, ,
                      "prge::perturb needs a flat float32 adapter, an int64 key of 2 values and one float32 eps");
  ET_KERNEL_CHECK_MSG(ctx, signs >= -1 && signs <= 1 && queries > 0 && first_query >= kUnperturbed, InvalidArgument, ,
                      "prge::perturb: invalid signs %" PRId64 ", queries %" PRId64 " or first query %" PRId64,
                      signs, queries, first_query);
  ET_KERNEL_CHECK_MSG(ctx, out.size() == features.size(), InvalidArgument, ,
                      "prge::perturb: %zu slots, but %zu outputs", features.size(), out.size());
  ET_KERNEL_CHECK_MSG(ctx, type == ScalarType::Float || type == ScalarType::Half || type == ScalarType::BFloat16,
                      InvalidArgument, , "prge::perturb: type %d is not float32, float16 or bfloat16",
                      static_cast<int>(type));
  const int64_t slices = queries * (signs == 0 ? 2 : 1);
  const int64_t* words = key.const_data_ptr<int64_t>();
  for (size_t i = 0; i < features.size(); ++i) {
    ET_KERNEL_CHECK_MSG(ctx,
                        offset >= 0 && rank > 0 && features[i] > 0 && rank <= adapter.numel() / features[i] &&
                            offset <= adapter.numel() - rank * features[i],
                        InvalidArgument, ,
                        "prge::perturb: %" PRId64 " x %" PRId64 " values at offset %" PRId64
                        " do not lie within the adapter of %zd values",
                        rank, features[i], offset, static_cast<ssize_t>(adapter.numel()));
    Tensor slot = out[i];
    const SizesType sizes[3] = {static_cast<SizesType>(slices), static_cast<SizesType>(rank),
                                static_cast<SizesType>(features[i])};
    ET_KERNEL_CHECK_MSG(ctx,
                        slot.scalar_type() == type &&
                            resize_tensor(slot, ArrayRef<SizesType>(sizes, 3)) == Error::Ok,
                        InvalidArgument, ,
                        "prge::perturb: output %zu is not [%" PRId64 ", %" PRId64 ", %" PRId64 "] of its type", i,
                        slices, rank, features[i]);
    perturb_slot({adapter.const_data_ptr<float>(),
                  offset,
                  rank * features[i],
                  {words[0], words[1]},
                  *eps.const_data_ptr<float>(),
                  first_query,
                  queries,
                  static_cast<Signs>(signs),
                  distribution},
                 slot);
    offset += rank * features[i];
  }
}

// The library's own wrapper supports only operators with one output tensor.
template <Distribution distribution>
void perturb_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  perturb_out(ctx, stack[0]->toTensor(), stack[1]->toTensor(), stack[2]->toTensor(), stack[3]->toTensor(),
              stack[4]->toInt(), stack[5]->toInt(), stack[6]->toIntList(), stack[7]->toInt(), stack[8]->toInt(),
              stack[9]->toInt(), static_cast<ScalarType>(stack[10]->toInt()), stack[11]->toTensorList(),
              distribution);
}

template <Distribution distribution>
Tensor& update_out(KernelRuntimeContext& ctx, const Tensor& adapter, const Tensor& projected_gradient,
                   const Tensor& pending_key, const Tensor& lr, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx,
                      is_float(adapter, 1) && is_float(projected_gradient, 1) &&
                          projected_gradient.numel() > 0 && is_key(pending_key) && is_scalar(lr),
                      InvalidArgument, out,
                      "prge::update needs a flat float32 adapter, a flat float32 projected gradient, an int64 key of 2 "
                      "values and one float32 lr");
  ET_KERNEL_CHECK_MSG(ctx, out.scalar_type() == ScalarType::Float && resize_tensor(out, adapter.sizes()) == Error::Ok,
                      InvalidArgument, out, "prge::update: the output is not float32 [%zd]",
                      static_cast<ssize_t>(adapter.numel()));
  update(adapter.const_data_ptr<float>(), projected_gradient.const_data_ptr<float>(), projected_gradient.numel(),
         pending_key.const_data_ptr<int64_t>(), *lr.const_data_ptr<float>(), adapter.numel(),
         out.mutable_data_ptr<float>(), distribution);
  return out;
}

void linear_frozen_out(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& weight, ArrayRef<Tensor> scales,
                       Tensor& out) {
  FrozenMatrix matrix;
  ET_KERNEL_CHECK_MSG(ctx, take_frozen(weight, scales, matrix), InvalidArgument, ,
                      "prge::linear_frozen: a weight of %zd rows has no known form, or its %zu scales don't fit it",
                      weight.dim() == 2 ? static_cast<ssize_t>(weight.size(0)) : -1, scales.size());
  ET_KERNEL_CHECK_MSG(
      ctx,
      x.scalar_type() == ScalarType::Float && x.dim() >= 1 && x.dim() <= 16 && matrix.in_features > 0 &&
          x.size(x.dim() - 1) == matrix.in_features,
      InvalidArgument, , "prge::linear_frozen needs float32 x [..., %" PRId64 "] for this weight",
      matrix.in_features);
  SizesType sizes[16];
  for (ssize_t i = 0; i < x.dim(); ++i) sizes[i] = static_cast<SizesType>(x.size(i));
  sizes[x.dim() - 1] = static_cast<SizesType>(matrix.out_features);
  ET_KERNEL_CHECK_MSG(ctx,
                      out.scalar_type() == ScalarType::Float &&
                          resize_tensor(out, ArrayRef<SizesType>(sizes, static_cast<size_t>(x.dim()))) == Error::Ok,
                      InvalidArgument, , "prge::linear_frozen: the output is not float32 [..., %" PRId64 "]",
                      matrix.out_features);
  ET_KERNEL_CHECK_MSG(ctx,
                      linear_frozen(simd_loops(), x.const_data_ptr<float>(), x.numel() / matrix.in_features, matrix,
                                    out.mutable_data_ptr<float>()),
                      MemoryAllocationFailed, , "prge::linear_frozen: no memory for a tile of the weight");
}

void linear_frozen_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  linear_frozen_out(ctx, stack[0]->toTensor(), stack[1]->toTensor(), stack[2]->toTensorList(), stack[3]->toTensor());
}

const Kernel boxed[] = {
    Kernel("prge::linear_frozen.out", linear_frozen_boxed),
    Kernel("prge::perturb.out", perturb_boxed<Distribution::normal>),
    Kernel("prge::perturb_rademacher.out", perturb_boxed<Distribution::rademacher>),
};
const Error boxed_registered = register_kernels(Span<const Kernel>(boxed));
EXECUTORCH_LIBRARY(prge, "update.out", update_out<Distribution::normal>);
EXECUTORCH_LIBRARY(prge, "update_rademacher.out", update_out<Distribution::rademacher>);

}  // namespace
}  // namespace prge
