// The operators of namespace `prge` (docs/contracts.md, "Operators of our own"), registered with ExecuTorch at
// start-up. A wrong argument fails the operator with a sentence in the log; the runner puts that into its footer.
#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>

#include <cinttypes>

#include "half_product.h"
#include "nf4.h"
#include "nf4_product.h"
#include "noise.h"

namespace prge {
namespace {

using executorch::aten::ArrayRef;
using executorch::aten::Half;
using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::KernelRuntimeContext;
using executorch::runtime::resize_tensor;
using executorch::runtime::Span;

bool is_flat(const Tensor& tensor, ScalarType type) { return tensor.scalar_type() == type && tensor.dim() == 1; }

bool is_scalar(const Tensor& tensor) { return tensor.scalar_type() == ScalarType::Float && tensor.numel() == 1; }

bool is_key(const Tensor& tensor) { return is_flat(tensor, ScalarType::Long) && tensor.numel() == 2; }

// One slot's perturbed B, written as float32 or rounded to float16.
void perturb_slot(const Perturbation& slot, Tensor& out) {
  if (out.scalar_type() == ScalarType::Half) {
    perturb(slot, out.mutable_data_ptr<Half>());
  } else {
    perturb(slot, out.mutable_data_ptr<float>());
  }
}

void perturb_out(KernelRuntimeContext& ctx, const Tensor& adapter, const Tensor& key, const Tensor& eps,
                 const Tensor& /*after: orders the graph*/, int64_t offset, int64_t rank, ArrayRef<int64_t> features,
                 int64_t first_query, int64_t queries, int64_t signs, bool half, ArrayRef<Tensor> out) {
  ET_KERNEL_CHECK_MSG(ctx, is_flat(adapter, ScalarType::Float) && is_key(key) && is_scalar(eps), InvalidArgument, ,
                      "prge::perturb needs a flat float32 adapter, an int64 key of 2 values and one float32 eps");
  ET_KERNEL_CHECK_MSG(ctx, signs >= -1 && signs <= 1 && queries > 0 && first_query >= 0, InvalidArgument, ,
                      "prge::perturb: signs %" PRId64 ", queries %" PRId64 ", first query %" PRId64, signs, queries,
                      first_query);
  ET_KERNEL_CHECK_MSG(ctx, out.size() == features.size(), InvalidArgument, ,
                      "prge::perturb: %zu slots, but %zu outputs", features.size(), out.size());
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
                        slot.scalar_type() == (half ? ScalarType::Half : ScalarType::Float) &&
                            resize_tensor(slot, ArrayRef<SizesType>(sizes, 3)) == Error::Ok,
                        InvalidArgument, ,
                        "prge::perturb: output %zu is not %s [%" PRId64 ", %" PRId64 ", %" PRId64 "]", i,
                        half ? "float16" : "float32", slices, rank, features[i]);
    perturb_slot({adapter.const_data_ptr<float>(),
                  offset,
                  rank * features[i],
                  {words[0], words[1]},
                  *eps.const_data_ptr<float>(),
                  first_query,
                  queries,
                  static_cast<Signs>(signs)},
                 slot);
    offset += rank * features[i];
  }
}

// The library's own wrapper knows operators with one output tensor only.
void perturb_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  perturb_out(ctx, stack[0]->toTensor(), stack[1]->toTensor(), stack[2]->toTensor(), stack[3]->toTensor(),
              stack[4]->toInt(), stack[5]->toInt(), stack[6]->toIntList(), stack[7]->toInt(), stack[8]->toInt(),
              stack[9]->toInt(), stack[10]->toBool(), stack[11]->toTensorList());
}

Tensor& update_out(KernelRuntimeContext& ctx, const Tensor& adapter, const Tensor& projected_gradient,
                   const Tensor& pending_key, const Tensor& lr, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx,
                      is_flat(adapter, ScalarType::Float) && is_flat(projected_gradient, ScalarType::Float) &&
                          projected_gradient.numel() > 0 && is_key(pending_key) && is_scalar(lr),
                      InvalidArgument, out,
                      "prge::update needs a flat float32 adapter, a flat float32 projected gradient, an int64 key of 2 "
                      "values and one float32 lr");
  ET_KERNEL_CHECK_MSG(ctx, out.scalar_type() == ScalarType::Float && resize_tensor(out, adapter.sizes()) == Error::Ok,
                      InvalidArgument, out, "prge::update: the output is not float32 [%zd]",
                      static_cast<ssize_t>(adapter.numel()));
  update(adapter.const_data_ptr<float>(), projected_gradient.const_data_ptr<float>(), projected_gradient.numel(),
         pending_key.const_data_ptr<int64_t>(), *lr.const_data_ptr<float>(), adapter.numel(),
         out.mutable_data_ptr<float>());
  return out;
}

Tensor& linear_nf4_out(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& packed, const Tensor& absmax,
                       Tensor& out) {
  ET_KERNEL_CHECK_MSG(
      ctx,
      x.scalar_type() == ScalarType::Float && x.dim() >= 1 && x.dim() <= 16 &&
          packed.scalar_type() == ScalarType::Byte && packed.dim() == 2 && absmax.scalar_type() == ScalarType::Float,
      InvalidArgument, out, "prge::linear_nf4 needs float32 x, uint8 packed [out, in/2] and float32 absmax");
  const int64_t in_features = x.size(x.dim() - 1);
  const int64_t out_features = packed.size(0);
  const int64_t blocks = (out_features * in_features + kNf4BlockValues - 1) / kNf4BlockValues;
  ET_KERNEL_CHECK_MSG(
      ctx, in_features > 0 && packed.size(1) * 2 == in_features && absmax.numel() == blocks, InvalidArgument, out,
      "prge::linear_nf4: x has %" PRId64 " features, the weight %zd, and absmax %zd values instead of %" PRId64,
      in_features, static_cast<ssize_t>(packed.size(1) * 2), static_cast<ssize_t>(absmax.numel()), blocks);
  SizesType sizes[16];
  for (ssize_t i = 0; i < x.dim(); ++i) sizes[i] = static_cast<SizesType>(x.size(i));
  sizes[x.dim() - 1] = static_cast<SizesType>(out_features);
  ET_KERNEL_CHECK_MSG(ctx,
                      out.scalar_type() == ScalarType::Float &&
                          resize_tensor(out, ArrayRef<SizesType>(sizes, static_cast<size_t>(x.dim()))) == Error::Ok,
                      InvalidArgument, out, "prge::linear_nf4: the output is not float32 [..., %" PRId64 "]",
                      out_features);
  const Nf4Matrix weight{packed.const_data_ptr<uint8_t>(), absmax.const_data_ptr<float>(), out_features, in_features};
  ET_KERNEL_CHECK_MSG(ctx,
                      linear_nf4(simd_loops(), x.const_data_ptr<float>(), x.numel() / in_features, weight,
                                 out.mutable_data_ptr<float>()),
                      MemoryAllocationFailed, out, "prge::linear_nf4: no memory for a tile of the weight");
  return out;
}

Tensor& linear_half_out(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& weight, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx,
                      x.scalar_type() == ScalarType::Float && x.dim() == 2 &&
                          weight.scalar_type() == ScalarType::Half && weight.dim() == 2 && weight.size(1) == x.size(1),
                      InvalidArgument, out, "prge::linear_half needs float32 x [rows, in] and float16 weight [out, in]");
  const SizesType sizes[2] = {static_cast<SizesType>(x.size(0)), static_cast<SizesType>(weight.size(0))};
  ET_KERNEL_CHECK_MSG(ctx,
                      out.scalar_type() == ScalarType::Float &&
                          resize_tensor(out, ArrayRef<SizesType>(sizes, 2)) == Error::Ok,
                      InvalidArgument, out, "prge::linear_half: the output is not float32 [rows, out]");
  ET_KERNEL_CHECK_MSG(ctx,
                      linear_half(simd_loops(), x.const_data_ptr<float>(), x.size(0),
                                  static_cast<const uint16_t*>(weight.const_data_ptr()), weight.size(0),
                                  weight.size(1), out.mutable_data_ptr<float>()),
                      MemoryAllocationFailed, out, "prge::linear_half: no memory for a tile of the weight");
  return out;
}

const auto perturb_registered =
    executorch::runtime::register_kernel(executorch::runtime::Kernel("prge::perturb.out", perturb_boxed));
EXECUTORCH_LIBRARY(prge, "update.out", update_out);
EXECUTORCH_LIBRARY(prge, "linear_nf4.out", linear_nf4_out);
EXECUTORCH_LIBRARY(prge, "linear_half.out", linear_half_out);

}  // namespace
}  // namespace prge
