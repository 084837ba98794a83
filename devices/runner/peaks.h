// What this device can do: at best (`runner --peaks JOB.json`), and in each variant of the kernels (`runner --kernels
// JOB.json`); docs/runner.md.
#pragma once

#include <string>

#include "events.h"

namespace runner {

// Measures on the cpus and threads of the job and prints a line for each peak, up to the footer, which is the result.
// Throws OutputLost.
Footer measure_peaks(const std::string& job_path, Events& events);

// The same with a line for each form of weights and variant of the kernels, on one thread; none where there is one
// variant.
Footer measure_kernels(const std::string& job_path, Events& events);

}  // namespace runner
