// The size of ExecuTorch's thread pool.
#pragma once

#include <cstdint>

namespace runner {

// Sets the number of threads that kernels and delegates share, and returns how many there are then. Affinity must be
// set before: the pool's threads inherit it.
int64_t set_thread_count(uint32_t threads);

}  // namespace runner
