#include "process_status.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
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

// Reads the start of a file in /proc. Returns 0, or the errno of a failure.
template <size_t room>
int read_start(const char* path, char (&text)[room]) {
  size_t size = 0;
  int error = 0;
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    error = errno;
  } else {
    ssize_t got = 0;
    while (size < room - 1 && (got = ::read(fd, text + size, room - 1 - size)) > 0) size += static_cast<size_t>(got);
    if (got < 0) error = errno;
    ::close(fd);
  }
  text[size] = '\0';
  return error;
}

struct Heap {
  int64_t used_kib;
  int64_t held_kib;
  const char* why_not;
};

Heap heap() {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
  const struct mallinfo2 info = ::mallinfo2();  // `hblk...`: blocks that are mappings of their own
  return {static_cast<int64_t>((info.uordblks + info.hblkhd) >> 10),
          static_cast<int64_t>((info.arena + info.hblkhd) >> 10), nullptr};
#elif defined(__BIONIC__)
  const struct mallinfo info = ::mallinfo();
  return {static_cast<int64_t>(info.uordblks >> 10), static_cast<int64_t>((info.arena + info.hblkhd) >> 10), nullptr};
#else
  return {-1, -1, "this C library does not account for its heap (glibc 2.33 and later and bionic do)"};
#endif
}

}  // namespace

ProcessStatus process_status() {
  char text[8192];
  read_start("/proc/self/status", text);
  rusage usage;
  const bool known = ::getrusage(RUSAGE_SELF, &usage) == 0;
  return {field(text, "VmRSS:"), field(text, "VmHWM:"), field(text, "VmSwap:"), known ? int64_t{usage.ru_minflt} : -1,
          known ? int64_t{usage.ru_majflt} : -1};
}

MemoryUse memory_use() {
  MemoryUse use{};
  char text[8192];
  const int error = read_start("/proc/self/smaps_rollup", text);
  // The kernel's running counts in `status` may be off by some pages per thread; the sum over mappings is not.
  use.pss_kib = field(text, "Pss:");
  if (use.pss_kib < 0) {
    const char* reason = error == 0 ? "it has no Pss line" : std::strerror(error);
    use.unavailable.emplace_back("pss_kib", std::string("/proc/self/smaps_rollup: ") + reason);
    read_start("/proc/self/status", text);
  }
  const bool summed = use.pss_kib >= 0;
  const auto take = [&](int64_t& value, const char* name, const char* key) {
    value = field(text, key);
    if (value < 0) use.unavailable.emplace_back(name, std::string("the kernel has no ") + key);
  };
  take(use.rss_kib, "rss_kib", summed ? "Rss:" : "VmRSS:");
  take(use.anonymous_kib, "anonymous_kib", summed ? "Anonymous:" : "RssAnon:");
  take(use.swap_kib, "swap_kib", summed ? "Swap:" : "VmSwap:");
  const Heap found = heap();
  use.heap_used_kib = found.used_kib;
  use.heap_held_kib = found.held_kib;
  if (found.why_not != nullptr) {
    for (const char* name : {"heap_used_kib", "heap_held_kib"}) use.unavailable.emplace_back(name, found.why_not);
  }
  return use;
}

}  // namespace runner
