// What the runner prints: one JSON object a line (docs/contracts.md, "Events").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "allocations.h"
#include "failure.h"
#include "job.h"
#include "machine.h"
#include "profile.h"
#include "samples.h"

namespace runner {

// Standard output is closed or full, so nothing more can be reported.
class OutputLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Footer {
  const char* cause;  // completed, error or signal
  std::string reason;
  std::optional<uint32_t> error_code;
  std::optional<Stage> stage;
  int64_t steps;
};

// What the processor or its memory can do. Each repetition does `count` operations, two for each product, or moves so
// many bytes; the results prove that `made` of them were done.
struct Peak {
  const char* of;  // a type, or how memory is accessed: read, copy, triad
  const char* by;  // the instructions; for memory: cache or memory
  const char* unit;
  int64_t count;
  int64_t made;
  int64_t buffer_bytes;  // -1: none
  std::vector<int64_t> ns;
};

// The times of a product with weights of one form in one variant of the hot loops.
struct ProductTimes {
  const char* weights;  // the name of their setting
  const char* kernels;
  std::vector<int64_t> ns;
};

class Events {
 public:
  explicit Events(int fd) : fd_(fd) {}

  void header(const Job& job, const Machine& machine, int64_t threads, const std::vector<int>& cpus);
  void load(int64_t t0_ns, int64_t t1_ns, size_t program_bytes);
  // `length`: the tokens of a row, if there are programs for several. `allocations`: the step's, if they were counted.
  void step(int64_t index, bool measured, int64_t t0_ns, int64_t t1_ns, const std::vector<float>& losses,
            std::optional<int64_t> length, std::optional<Allocations> allocations);
  // The process's memory use after a step.
  void memory(int64_t step);
  // Where the time of a step went: the names of calls' parts where they have changed, then a line for each call.
  void profile(int64_t step, const Profile& profile);
  void samples(const std::vector<Sample>& samples, const std::vector<SensorSpec>& sensors);
  void sensor_errors(const std::vector<SensorErrors>& errors, const std::vector<SensorSpec>& sensors);
  // Prints nothing for a peak that was interrupted before its first repetition.
  void peak(const Peak& peak);
  void product(const ProductTimes& product);
  void footer(const Footer& footer);
  void end();

 private:
  void print(const std::string& lines, int64_t count = 1);

  int fd_;
  int64_t lines_ = 0;
};

}  // namespace runner
