// Loops that do only what is to be measured: multiply-adds in registers, and passes over memory.
//
// Each is compiled for the instruction set that it names; the processor's features determine which of them it can run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace runner {

// Does `rounds` rounds of independent multiply-adds and returns how many products the sums contain in the end. All
// products are the same number, so small that the sums are exact: this counts what the processor has computed.
struct ComputeLoop {
  const char* dtype;
  const char* instructions;
  int64_t (*run)(int64_t rounds);
  int64_t products_per_round;
  int64_t rounds;  // as many as keep the sums exact, or enough that adding them up costs nothing
};

// The widest loop that this processor can run, for each type that it can multiply.
std::vector<ComputeLoop> compute_loops(const std::vector<std::string>& features);

// One thread's passes over `count` float32 values, a multiple of kMemoryBlock.
struct MemoryLoops {
  float (*read)(const float* from, int64_t count);  // their sum
  void (*copy)(const float* from, float* to, int64_t count);
  void (*triad)(const float* from, const float* and_from, float* to, int64_t count);  // from + and_from / 2
};

constexpr int64_t kMemoryBlock = 128;

MemoryLoops memory_loops(const std::vector<std::string>& features);

}  // namespace runner
