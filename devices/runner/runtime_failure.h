// Errors of the ExecuTorch runtime as failures: its messages about them, and what to do.
#pragma once

#include <executorch/runtime/core/result.h>

#include <string>
#include <utility>

#include "failure.h"

namespace runner {

// Throws a Failure with the runtime's messages since they were last forgotten.
[[noreturn]] void fail(Stage stage, const std::string& what, executorch::runtime::Error error);

template <typename T>
T taken(Stage stage, const std::string& what, executorch::runtime::Result<T>&& result) {
  if (!result.ok()) fail(stage, what, result.error());
  return std::move(result.get());
}

}  // namespace runner
