#include "process_status.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>

namespace runner {
namespace {

// The number after `name` at the start of a line.
int64_t field(const char* text, const char* name) {
  const size_t length = std::strlen(name);
  for (const char* line = text; line != nullptr && *line != '\0'; line = std::strchr(line, '\n')) {
    if (*line == '\n') ++line;
    if (std::strncmp(line, name, length) != 0) continue;
    const char* at = line + length;
    while (*at == ' ' || *at == '\t') ++at;
    if (*at < '0' || *at > '9') return -1;
    int64_t value = 0;
    for (; *at >= '0' && *at <= '9'; ++at) value = value * 10 + (*at - '0');
    return value;
  }
  return -1;
}

}  // namespace

ProcessStatus process_status() {
  char text[8192];
  size_t size = 0;
  const int fd = ::open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    ssize_t got = 0;
    while (size < sizeof text - 1 && (got = ::read(fd, text + size, sizeof text - 1 - size)) > 0) {
      size += static_cast<size_t>(got);
    }
    ::close(fd);
  }
  text[size] = '\0';
  rusage usage;
  const bool known = ::getrusage(RUSAGE_SELF, &usage) == 0;
  return {field(text, "VmRSS:"), field(text, "VmHWM:"), field(text, "VmSwap:"), known ? int64_t{usage.ru_minflt} : -1,
          known ? int64_t{usage.ru_majflt} : -1};
}

}  // namespace runner
