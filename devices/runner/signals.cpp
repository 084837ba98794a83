#include "signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>

#include "clock.h"
#include "file.h"
#include "process_status.h"
#include "runtime_log.h"
#include "sampler.h"

namespace runner {
namespace {

std::atomic<int> requested{0};
std::atomic<int> crashing{0};
std::atomic<const char*> stage{"job"};
std::atomic<int64_t> steps{0};
std::atomic<bool> printing{false};
int output = 1;

const char* name_of(int number) {
  switch (number) {
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGABRT: return "SIGABRT";
    case SIGILL: return "SIGILL";
    case SIGFPE: return "SIGFPE";
    case SIGTERM: return "SIGTERM";
    case SIGINT: return "SIGINT";
    default: return "signal";
  }
}

void on_request(int number) { requested = number; }

// A line in a fixed buffer: nothing here allocates or locks.
class FixedLine {
 public:
  FixedLine& text(const char* part) {
    const size_t size = strnlen(part, sizeof text_ - size_);
    std::memcpy(text_ + size_, part, size);
    size_ += size;
    return *this;
  }
  FixedLine& count(const char* key, int64_t value) {
    char digits[24];
    if (value < 0) return text(key).text("null");  // unknown
    char* at = digits + sizeof digits - 1;
    *at = '\0';
    auto rest = static_cast<uint64_t>(value);
    do {
      *--at = static_cast<char>('0' + rest % 10);
      rest /= 10;
    } while (rest != 0);
    return text(key).text(at);
  }
  void print() const { (void)write_all(output, text_, size_); }

 private:
  char text_[1024];
  size_t size_ = 0;
};

void on_crash(int number) {
  if (crashing.exchange(1) == 0) {
    const char* message = last_runtime_message();
    const ProcessStatus status = process_status();
    FixedLine line;
    if (printing) line.text("\n");
    line.text("{\"event\":\"footer\",\"cause\":\"signal\",\"reason\":\"").text(name_of(number));
    if (message[0] != '\0') line.text(": ").text(message);
    line.text("\",\"error_code\":null,\"stage\":\"").text(stage).text("\"");
    line.count(",\"steps\":", steps)
        .count(",\"hwm_kib\":", status.hwm_kib)
        .count(",\"swap_kib\":", status.swap_kib)
        .count(",\"minor_faults\":", status.minor_faults)
        .count(",\"major_faults\":", status.major_faults)
        .count(",\"sampler_cpu_ns\":", sampler_cpu_ns())
        .count(",\"t_ns\":", now_ns())
        .text("}\n")
        .print();
  }
  ::signal(number, SIG_DFL);
  ::raise(number);
}

void handle(int number, void (*action)(int), int flags) {
  struct sigaction description{};
  description.sa_handler = action;
  description.sa_flags = flags;
  sigemptyset(&description.sa_mask);
  ::sigaction(number, &description, nullptr);
}

}  // namespace

void install_signals(int fd) {
  output = fd;
  static char alternate_stack[64 * 1024];  // for a crash that has used up its own stack
  stack_t stack{};
  stack.ss_sp = alternate_stack;
  stack.ss_size = sizeof alternate_stack;
  ::sigaltstack(&stack, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  for (const int number : {SIGTERM, SIGINT}) handle(number, on_request, SA_RESTART);
  for (const int number : {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE}) handle(number, on_crash, SA_ONSTACK | SA_NODEFER);
}

const char* stop_signal() {
  const int number = requested;
  return number == 0 ? nullptr : name_of(number);
}

void note_stage(Stage now) { stage = stage_name(now); }

void note_steps(int64_t count) { steps = count; }

void note_printing(bool under_way) { printing = under_way; }

SignalsHeldBack::SignalsHeldBack() {
  sigset_t all;
  sigfillset(&all);
  for (const int fatal : {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE}) sigdelset(&all, fatal);
  pthread_sigmask(SIG_SETMASK, &all, &before_);
}

SignalsHeldBack::~SignalsHeldBack() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

}  // namespace runner
