// This process as the kernel accounts for it.
#pragma once

#include <cstdint>

namespace runner {

struct ProcessStatus {
  int64_t rss_kib;
  int64_t hwm_kib;  // the largest resident set so far
  int64_t swap_kib;
  int64_t minor_faults;
  int64_t major_faults;
};

// Reads /proc/self/status with system calls only, so that a signal handler may call it; -1 for what is not there.
ProcessStatus process_status();

}  // namespace runner
