// The size of ExecuTorch's thread pool.
#pragma once

#include <cstdint>

namespace runner {

// Why set_thread_count returns 0.
constexpr const char* kNoThreads =
    "There are no threads to compute with: /sys/devices/system/cpu/possible and present must be readable.";

// Sets the number of threads that kernels and delegates share, and returns how many there are then. Set the affinity
// first: the pool's threads inherit it.
int64_t set_thread_count(uint32_t threads);

}  // namespace runner
