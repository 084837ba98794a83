// What the operators' source files share: names of the library, and checks of arguments.
#pragma once

#include <executorch/runtime/kernel/kernel_includes.h>

#include <cinttypes>
#include <cstdint>
#include <initializer_list>

namespace prge {

using executorch::aten::ArrayRef;
using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::Kernel;
using executorch::runtime::KernelRuntimeContext;
using executorch::runtime::register_kernels;
using executorch::runtime::resize_tensor;
using executorch::runtime::Span;

// Whether the output has the type and could be given the shape.
inline bool shaped(Tensor& out, ScalarType type, std::initializer_list<int64_t> sizes) {
  SizesType wanted[8];
  size_t dimensions = 0;
  for (const int64_t size : sizes) wanted[dimensions++] = static_cast<SizesType>(size);
  return out.scalar_type() == type && resize_tensor(out, ArrayRef<SizesType>(wanted, dimensions)) == Error::Ok;
}

inline bool is_long(const Tensor& tensor, ssize_t dimensions) {
  return tensor.scalar_type() == ScalarType::Long && tensor.dim() == dimensions;
}

inline bool is_float(const Tensor& tensor, ssize_t dimensions) {
  return tensor.scalar_type() == ScalarType::Float && tensor.dim() == dimensions;
}

inline bool is_scalar(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Float && tensor.numel() == 1;
}

inline bool is_key(const Tensor& tensor) { return is_long(tensor, 1) && tensor.numel() == 2; }

// Whether int64 tokens are all rows of a table; if not, the operator `name` fails.
inline bool are_rows(KernelRuntimeContext& ctx, const char* name, const Tensor& tokens, int64_t rows) {
  const int64_t* token = tokens.const_data_ptr<int64_t>();
  for (ssize_t i = 0; i < tokens.numel(); ++i) {
    ET_KERNEL_CHECK_MSG(ctx, token[i] >= 0 && token[i] < rows, InvalidArgument, false,
                        "%s: token %" PRId64 " is not among the table's %" PRId64 " rows", name, token[i], rows);
  }
  return true;
}

}  // namespace prge
