// What this device can do at best: `runner --peaks JOB.json` (docs/contracts.md, "Peaks").
#pragma once

#include <string>

#include "events.h"

namespace runner {

// Measures on the cpus and threads of the job and prints a line for each peak, up to the footer, which is the result.
// Throws OutputLost.
Footer measure_peaks(const std::string& job_path, Events& events);

}  // namespace runner
