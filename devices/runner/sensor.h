// One number from a file that the kernel keeps up to date.
#pragma once

#include <optional>
#include <string>

#include "file.h"
#include "job.h"

namespace runner {

// `value` times the sensor's scale. Throws a FileError that begins with `from` if this is too large or out of range.
double scaled(const SensorSpec& spec, double value, const std::string& from);

class Sensor {
 public:
  explicit Sensor(const SensorSpec& spec) : spec_(spec) {}

  // The scaled value. Throws a FileError with the reason if there is none; the next reading tries again.
  double read();

 private:
  double number_in(std::optional<File>& file, const std::string& path, const std::string& field);

  SensorSpec spec_;
  std::optional<File> file_;
  std::optional<File> factor_;
};

}  // namespace runner
