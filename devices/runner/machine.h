// What the runner runs on, and which of its cpus it may use.
#pragma once

#include <string>
#include <vector>

namespace runner {

struct Machine {
  std::string architecture;  // as uname says
  std::string kernel;
  std::string cpu;                    // model, as far as the machine tells
  std::vector<std::string> features;  // of the instruction set, those that matter to kernels
  int cpu_count;
};

Machine describe_machine();

// Restricts this thread, and those it starts later, to `cpus` (none: no change). Throws Failure of stage `job` when the
// machine refuses. Returns the cpus allowed then.
std::vector<int> pin_to_cpus(const std::vector<int>& cpus);

// Lets this thread run wherever the process could before pin_to_cpus. Async-signal-safe.
void undo_pinning();

}  // namespace runner
