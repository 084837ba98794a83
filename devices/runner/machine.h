// The machine that the runner runs on, and which of its cpus it may use.
#pragma once

#include <string>
#include <vector>

namespace runner {

struct Machine {
  std::string architecture;  // as uname reports it
  std::string kernel;
  std::string cpu;                    // the model, or what the machine reports instead
  std::vector<std::string> features;  // of the instruction set, those that matter to kernels
  int cpu_count;
};

Machine describe_machine();

// Restricts this thread, and those it starts later, to `cpus` (none: no change). Returns the cpus allowed then. Throws
// Failure of stage `job` if the machine refuses.
std::vector<int> pin_to_cpus(const std::vector<int>& cpus);

// Lets this thread run wherever the process could before pin_to_cpus. Async-signal-safe.
void undo_pinning();

}  // namespace runner
