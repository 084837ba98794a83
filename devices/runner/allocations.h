// How often a step asks the C library for memory.
#pragma once

#include <cstdint>

namespace runner {

struct Allocations {
  int64_t count;
  int64_t bytes;  // that were asked for
};

// Why this build can't count, nullptr if it can.
const char* why_no_allocations();

// Counts what all threads and libraries ask for from here on, but for threads that look only. Off, it costs a branch.
void begin_counting_allocations();
Allocations end_counting_allocations();

// The calling thread samples and computes nothing: what it asks for is no part of a step.
void leave_out_this_thread();

}  // namespace runner
