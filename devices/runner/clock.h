// Nanoseconds of CLOCK_MONOTONIC, the one clock of steps and samples, and of a thread's processor time.
#pragma once

#include <time.h>

#include <cstdint>

namespace runner {

inline int64_t nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

inline int64_t now_ns() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return nanoseconds(time);
}

// Processor time of the calling thread.
inline int64_t thread_ns() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return nanoseconds(time);
}

}  // namespace runner
