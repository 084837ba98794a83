// The element types that inputs and state may have, under the names the job and safetensors use.
#pragma once

#include <executorch/runtime/core/exec_aten/exec_aten.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace runner {

struct Dtype {
  const char* name;         // in the job
  const char* safetensors;  // in a state file
  executorch::aten::ScalarType scalar_type;
  size_t bytes;
};

inline constexpr Dtype kDtypes[] = {
    {"float32", "F32", executorch::aten::ScalarType::Float, 4},
    {"float16", "F16", executorch::aten::ScalarType::Half, 2},
    {"float64", "F64", executorch::aten::ScalarType::Double, 8},
    {"int64", "I64", executorch::aten::ScalarType::Long, 8},
    {"int32", "I32", executorch::aten::ScalarType::Int, 4},
    {"int8", "I8", executorch::aten::ScalarType::Char, 1},
    {"uint8", "U8", executorch::aten::ScalarType::Byte, 1},
    {"bool", "BOOL", executorch::aten::ScalarType::Bool, 1},
};

// nullptr when the name or type is not among them.
inline const Dtype* dtype_named(std::string_view name) {
  for (const Dtype& dtype : kDtypes) {
    if (name == dtype.name) return &dtype;
  }
  return nullptr;
}

inline const Dtype* dtype_of(executorch::aten::ScalarType type) {
  for (const Dtype& dtype : kDtypes) {
    if (type == dtype.scalar_type) return &dtype;
  }
  return nullptr;
}

// "float32 [4, 64]", for messages.
template <typename Sizes>
std::string described(const Dtype* dtype, const Sizes& sizes) {
  std::string text = std::string(dtype == nullptr ? "an unsupported type" : dtype->name) + " [";
  for (size_t i = 0; i < sizes.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(sizes[i]);
  return text + "]";
}

}  // namespace runner
