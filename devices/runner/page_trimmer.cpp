#include "page_trimmer.h"

#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <cerrno>

namespace runner {
namespace {

constexpr suseconds_t kPeriodUs = 2000;  // the kernel rounds it up to its tick, 1 to 10 ms: some 10 MB of packing

std::atomic<const std::vector<const MappedFile*>*> trimmed{nullptr};

void on_timer(int) {
  const int saved = errno;
  const std::vector<const MappedFile*>* files = trimmed;
  if (files != nullptr) {
    for (const MappedFile* file : *files) file->drop_resident_pages();
  }
  errno = saved;
}

void set_timer(suseconds_t period_us) {
  const itimerval timer{{0, period_us}, {0, period_us}};
  ::setitimer(ITIMER_PROF, &timer, nullptr);
}

}  // namespace

PageTrimmer::PageTrimmer(const std::vector<const MappedFile*>& files) {
  trimmed = &files;
  struct sigaction action{};
  action.sa_handler = on_timer;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGPROF, &action, nullptr);
  set_timer(kPeriodUs);
}

PageTrimmer::~PageTrimmer() {
  set_timer(0);
  ::signal(SIGPROF, SIG_IGN);  // a last one may be pending, and by default it would end the process
  on_timer(SIGPROF);
  trimmed = nullptr;
}

}  // namespace runner
