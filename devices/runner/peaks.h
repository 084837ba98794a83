// This device's peaks (`runner --peaks JOB.json`), and its speed with each variant of the kernels (`runner --kernels
// JOB.json`); see docs/runner.md.
#pragma once

#include <string>

#include "events.h"

namespace runner {

// Measures with the job's cpus and threads, prints a line for each peak, and returns the footer. Throws OutputLost.
Footer measure_peaks(const std::string& job_path, Events& events);

// The same with a line for each form of weights and variant of the kernels, on one thread; no lines if there is only
// one variant.
Footer measure_kernels(const std::string& job_path, Events& events);

}  // namespace runner
