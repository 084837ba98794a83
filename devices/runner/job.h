// The job file, which says what the runner is to do (docs/contracts.md, "Job").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "dtype.h"

namespace runner {

struct FileBatches {
  std::string path;
  int64_t offset_bytes;
  int64_t batches;  // step i takes batch i % batches
};

struct StepKey {
  int64_t seed;
  int64_t first;  // the input of step i is [seed, first + i]
};

struct Constant {
  std::vector<uint8_t> bytes;  // little endian
};

struct InputSpec {
  std::string name;
  const Dtype* dtype;
  std::vector<int32_t> shape;
  std::variant<FileBatches, StepKey, Constant> source;

  size_t bytes() const;
};

struct WarmUpRule {
  int64_t min_steps;
  int64_t max_steps;
  double max_seconds;
  double tolerance;
};

struct Range {
  double low;
  double high;
};

struct SensorSpec {
  std::string name;
  std::string quantity;
  std::string path;                  // of a file that the kernel keeps up to date
  std::vector<std::string> command;  // or a program that prints one number a line; exactly one of the two is set
  std::string times;                 // a file with a factor for the value; empty: none
  std::string field;                 // empty: the first number of the file, or every line of the program
  double scale;
  double rate_hz;
  std::optional<Range> range;  // a scaled value outside it is not a reading
};

struct Job {
  std::string session;
  std::string program;
  std::vector<std::string> data;  // files with the program's constants; empty: it contains them all
  std::vector<std::string> shorter;  // programs of the same step for shorter rows
  bool profile;                      // every second step reports where its time goes
  int64_t memory_every;              // steps between reports of the memory in use; 0: no reports
  std::string method;
  std::vector<InputSpec> inputs;
  std::optional<int64_t> losses_output;
  WarmUpRule warm_up;
  int64_t steps;
  double min_measured_seconds;
  uint32_t threads;
  std::vector<int> cpus;  // empty: those that the process was started with
  std::string kernels;    // a variant of the hot loops; empty: the widest
  std::vector<SensorSpec> sensors;
  std::string state_out;  // empty: not written
  std::string state_in;   // empty: not read
};

// Reads and checks a job file; paths in the result are usable from the current folder. Throws Failure of stage `job`
// with a sentence that names the key.
Job read_job(const std::string& path);

// The same for measurements of the device itself, whose job has only a session, threads and cpus.
Job read_device_job(const std::string& path);

}  // namespace runner
