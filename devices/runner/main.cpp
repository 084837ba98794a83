// The device-side program: `runner JOB.json`; docs/contracts.md describes its job file and its output. `runner --peaks
// JOB.json` measures the device's peaks, `runner --kernels JOB.json` which variant of the kernels is the fastest on it.
// `runner --clock` prints its clock in nanoseconds, so that times taken on the host can be aligned with it.
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "clock.h"
#include "events.h"
#include "peaks.h"
#include "session.h"
#include "signals.h"

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--clock") == 0) {
    std::printf("%lld\n", static_cast<long long>(runner::now_ns()));
    return 0;
  }
  const bool peaks = argc == 3 && std::strcmp(argv[1], "--peaks") == 0;
  const bool kernels = argc == 3 && std::strcmp(argv[1], "--kernels") == 0;
  if (!peaks && !kernels && (argc != 2 || argv[1][0] == '-')) {
    std::fprintf(stderr, "usage: runner JOB.json\n       runner --peaks JOB.json\n       runner --kernels JOB.json\n"
                         "       runner --clock\n");
    return 2;
  }
  runner::install_signals(STDOUT_FILENO);
  runner::Events events(STDOUT_FILENO);
  try {
    const runner::Footer footer =
        peaks     ? runner::measure_peaks(argv[2], events)
        : kernels ? runner::measure_kernels(argv[2], events)
                  : runner::Session(events).run(argv[1]);
    events.footer(footer);
    events.end();
    return std::strcmp(footer.cause, "completed") == 0 ? 0 : 1;
  } catch (const runner::OutputLost& lost) {
    std::fprintf(stderr, "%s\n", lost.what());
    return 1;
  }
}
