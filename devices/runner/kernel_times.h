// Which variant of the kernels is the fastest on this processor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "events.h"

namespace runner {

// Times a product with every form of weights in every variant, in turn, by the thread's processor time, and prints a
// line for each. Prints nothing if there is only one variant. Throws Failure of stage `job` for several threads.
void print_product_times(Events& events, const std::vector<std::string>& features, int64_t threads);

}  // namespace runner
