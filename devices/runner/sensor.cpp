#include "sensor.h"

#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace runner {
namespace {

constexpr size_t kMaxBytes = 16384;  // read of a sensor's file; /proc/meminfo has 1.5 KiB

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The first decimal number in `text` up to the character `end`, NaN when there is none.
double first_number(const char* text, char end) {
  for (const char* at = text; *at != '\0' && *at != end; ++at) {
    const bool is_signed = (*at == '-' || *at == '+') && is_digit(at[1]);
    if (is_digit(*at) || is_signed) return std::strtod(at, nullptr);
  }
  return std::nan("");
}

const char* line_with(const char* text, const std::string& field) {
  for (const char* line = text; line != nullptr; line = std::strchr(line, '\n')) {
    if (*line == '\n') ++line;
    if (std::strncmp(line, field.c_str(), field.size()) == 0) return line + field.size();
  }
  return nullptr;
}

}  // namespace

double scaled(const SensorSpec& spec, double value, const std::string& from) {
  const double result = value * spec.scale;
  if (!std::isfinite(result)) throw FileError(from + ": the scaled value is too large.");
  if (spec.range && (result < spec.range->low || result > spec.range->high)) {
    char text[128];
    std::snprintf(text, sizeof text, ": %g is outside of %g to %g.", result, spec.range->low, spec.range->high);
    throw FileError(from + text);
  }
  return result;
}

double Sensor::number_in(std::optional<File>& file, const std::string& path, const std::string& field) {
  if (!file) file.emplace(File::open_to_read(path));
  char text[kMaxBytes + 1];
  ssize_t got;
  do {
    got = ::pread(file->fd(), text, kMaxBytes, 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    const std::string why = std::strerror(errno);
    file.reset();  // a device that went away and came back needs a new descriptor
    throw FileError(path + ": " + why + ".");
  }
  text[got] = '\0';
  const char* from = field.empty() ? text : line_with(text, field);
  if (from == nullptr) throw FileError(path + ": no line starts with " + field + ".");
  const double value = first_number(from, field.empty() ? '\0' : '\n');
  if (!std::isfinite(value)) throw FileError(path + ": there is no number in it.");
  return value;
}

double Sensor::read() {
  const double value = number_in(file_, spec_.path, spec_.field);
  const double factor = spec_.times.empty() ? 1.0 : number_in(factor_, spec_.times, "");
  return scaled(spec_, value * factor, spec_.path);
}

}  // namespace runner
