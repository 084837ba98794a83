// How often a step requests memory from the C library.
#pragma once

#include <cstdint>

namespace runner {

struct Allocations {
  int64_t count;
  int64_t bytes;  // requested
};

// Why this build can't count, nullptr if it can.
const char* why_no_allocations();

// From here on counts the requests of all threads and libraries, except threads that only sample. When off, it costs a
// branch.
void begin_counting_allocations();
Allocations end_counting_allocations();

// The calling thread only samples: its requests are not part of a step.
void leave_out_this_thread();

}  // namespace runner
