// Working memory of a thread, kept from one use to the next.
#pragma once

#include <executorch/runtime/core/function_ref.h>

#include <cstdint>

namespace prge {

// At least `floats` uninitialized values, aligned to a cache line; nullptr if there is no memory.
float* thread_buffer(int64_t floats);

// for_each_task with a thread_buffer for each task; false if one can't be allocated, and then some tasks are not done.
bool for_each_buffered_task(int64_t count, int64_t floats,
                            executorch::runtime::FunctionRef<void(int64_t, float*)> task);

}  // namespace prge
