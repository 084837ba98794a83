// The operators of methods whose update depends on the step's number (docs/contracts.md, "Operators of our own"),
// registered with ExecuTorch at start-up.
#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>

#include <algorithm>
#include <cstring>

#include "operator_checks.h"

namespace prge {
namespace {

// The step of a key when nothing is pending.
constexpr int64_t kNothing = -1;

int64_t step_of(const Tensor& key) { return key.const_data_ptr<int64_t>()[1]; }

void set(Tensor tensor, float value) { *tensor.mutable_data_ptr<float>() = value; }

bool are_scalars(ArrayRef<Tensor> tensors, size_t count) {
  return tensors.size() == count && std::all_of(tensors.begin(), tensors.end(), [](const Tensor& t) { return is_scalar(t); });
}

Tensor& pending_key_out(KernelRuntimeContext& ctx, const Tensor& key, const Tensor& eps, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx, is_key(key) && is_scalar(eps) && shaped(out, ScalarType::Long, {2}), InvalidArgument, out,
                      "prge::pending_key needs an int64 key and output of 2 values and one float32 eps");
  const int64_t* words = key.const_data_ptr<int64_t>();
  const int64_t pending[2] = {words[0], *eps.const_data_ptr<float>() > 0.0f ? words[1] : kNothing};
  std::memcpy(out.mutable_data_ptr<int64_t>(), pending, sizeof pending);
  return out;
}

// AdaZeta's groups of steps: the rate, and whether the pending step is the last of its group.
void query_group_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Tensor &key = stack[0]->toTensor(), &lr = stack[1]->toTensor();
  const int64_t period = stack[2]->toInt();
  const ArrayRef<int64_t> sizes = stack[3]->toIntList();
  const ArrayRef<Tensor> out = stack[4]->toTensorList();
  ET_KERNEL_CHECK_MSG(ctx,
                      is_key(key) && is_scalar(lr) && period > 0 && !sizes.empty() && are_scalars(out, 2) &&
                          std::all_of(sizes.begin(), sizes.end(), [](int64_t size) { return size > 0; }),
                      InvalidArgument, ,
                      "prge::query_group needs an int64 key of 2 values, one float32 lr, a period, sizes and two float32 "
                      "outputs");
  const int64_t step = step_of(key), place = step % period;
  const int64_t epoch = std::min(step / period, static_cast<int64_t>(sizes.size()) - 1);
  const int64_t wanted = step < 0 ? 1 : sizes[static_cast<size_t>(epoch)], begin = place - place % wanted;
  const int64_t size = std::min(wanted, period - begin);
  const bool ends = step >= 0 && place + 1 == begin + size;
  set(out[0], ends ? *lr.const_data_ptr<float>() / static_cast<float>(size) : 0.0f);
  set(out[1], ends ? 1.0f : 0.0f);
}

// SVRG's factors: the pending step determines the first three, the current one the last.
void anchor_terms_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Tensor &pending = stack[0]->toTensor(), &key = stack[1]->toTensor(), &lr = stack[2]->toTensor();
  const int64_t period = stack[3]->toInt(), batches = stack[4]->toInt();
  const ArrayRef<Tensor> out = stack[5]->toTensorList();
  ET_KERNEL_CHECK_MSG(ctx,
                      is_key(pending) && is_key(key) && is_scalar(lr) && batches > 0 && batches <= period &&
                          are_scalars(out, 4),
                      InvalidArgument, ,
                      "prge::anchor_terms needs two int64 keys of 2 values, one float32 lr, a period, no more batches "
                      "than it has steps, and four float32 outputs");
  const int64_t step = step_of(pending), place = step % period;
  const float rate = *lr.const_data_ptr<float>();
  const bool gathers = step >= 0 && place < batches, corrected = step >= 0 && place >= batches;
  set(out[0], gathers ? -1.0f / static_cast<float>(batches) : 0.0f);
  set(out[1], corrected ? rate : 0.0f);
  set(out[2], corrected || (gathers && place + 1 == batches) ? rate : 0.0f);
  set(out[3], step_of(key) % period == 0 ? 1.0f : 0.0f);
}

Tensor& anchored_gradient_out(KernelRuntimeContext& ctx, const Tensor& slopes, const Tensor& key, int64_t period,
                              int64_t batches, Tensor& out) {
  ET_KERNEL_CHECK_MSG(ctx,
                      is_float(slopes, 1) && slopes.numel() % 2 == 0 && is_key(key) && period > 0 &&
                          shaped(out, ScalarType::Float, {slopes.numel() / 2}),
                      InvalidArgument, out,
                      "prge::anchored_gradient needs float32 slopes [2 q], an int64 key of 2 values, a period and a "
                      "float32 output [q]");
  const float* slope = slopes.const_data_ptr<float>();
  const bool gathers = step_of(key) % period < batches;
  for (ssize_t i = 0; i < out.numel(); ++i) {
    out.mutable_data_ptr<float>()[i] = gathers ? slope[i] : slope[i] - slope[out.numel() + i];
  }
  return out;
}

// x or, if the flag is set, the other tensor, or zeros if there is none. `out` may be x itself.
void replaced_boxed(KernelRuntimeContext& ctx, Span<EValue*> stack) {
  const Tensor &x = stack[0]->toTensor(), &flag = stack[2]->toTensor();
  const ArrayRef<Tensor> other = stack[1]->toTensorList();
  Tensor& out = stack[3]->toTensor();
  ET_KERNEL_CHECK_MSG(ctx,
                      is_float(x, 1) && is_scalar(flag) && shaped(out, ScalarType::Float, {x.numel()}) &&
                          (other.empty() || (other.size() == 1 && is_float(other[0], 1) && other[0].numel() == x.numel())),
                      InvalidArgument, ,
                      "prge::replaced needs flat float32 values, at most one other tensor like them and one float32 flag");
  void* to = out.mutable_data_ptr<float>();
  if (*flag.const_data_ptr<float>() == 0.0f) {
    if (to != x.const_data_ptr()) std::memcpy(to, x.const_data_ptr(), x.nbytes());
  } else if (other.empty()) {
    std::memset(to, 0, x.nbytes());
  } else {
    std::memcpy(to, other[0].const_data_ptr(), x.nbytes());
  }
}

// The library's own wrapper supports neither lists of tensors nor several outputs.
const Kernel boxed[] = {
    Kernel("prge::query_group.out", query_group_boxed),
    Kernel("prge::anchor_terms.out", anchor_terms_boxed),
    Kernel("prge::replaced.out", replaced_boxed),
};
const Error boxed_registered = register_kernels(Span<const Kernel>(boxed));
EXECUTORCH_LIBRARY(prge, "pending_key.out", pending_key_out);
EXECUTORCH_LIBRARY(prge, "anchored_gradient.out", anchored_gradient_out);

}  // namespace
}  // namespace prge
