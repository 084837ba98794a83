// Splitting work over the runtime's thread pool.
#pragma once

#include <executorch/runtime/core/function_ref.h>

#include <cstdint>

namespace prge {

// Calls `task(i)` for every i < count, each thread taking the next one when it is free: cores of unequal speed stay
// busy to the end. Returns when all are done.
void for_each_task(int64_t count, executorch::runtime::FunctionRef<void(int64_t)> task);

}  // namespace prge
