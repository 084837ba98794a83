#include "program_sensor.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string_view>
#include <utility>

#include "allocations.h"
#include "clock.h"
#include "file.h"
#include "program_process.h"
#include "sampler.h"
#include "sensor.h"
#include "signals.h"

namespace runner {
namespace {

constexpr size_t kMaxLineBytes = 4096;
constexpr size_t kMaxQuotedBytes = 160;  // of a program's output in a message
constexpr int64_t kSecond = 1'000'000'000;

// A program that prints more lines than this in a second is not a sensor of that rate.
int64_t most_lines_per_second(double rate_hz) { return std::max<int64_t>(1000, std::llround(20.0 * rate_hz)); }

std::string printable(std::string_view text) {
  std::string line(text.substr(0, kMaxQuotedBytes));
  for (char& c : line) c = c >= ' ' && c < 0x7f ? c : '?';
  return line;
}

// The last line of `text` that is not empty.
std::string_view last_line(std::string_view text) {
  const size_t end = text.find_last_not_of(" \t\r\n");
  if (end == std::string_view::npos) return {};
  const size_t before = text.find_last_of('\n', end);
  const size_t begin = before == std::string_view::npos ? 0 : before + 1;
  return text.substr(begin, end + 1 - begin);
}

// The number at `from` in `line`, NaN if there is none. `strict`: nothing but a blank may follow it.
double leading_number(const std::string& line, size_t from, bool strict) {
  while (from < line.size() && std::strchr(" \t:=", line[from]) != nullptr) ++from;
  const char* begin = line.c_str() + from;
  if (!std::isdigit(static_cast<unsigned char>(begin[*begin == '-' || *begin == '+']))) return std::nan("");
  char* end = nullptr;
  const double value = std::strtod(begin, &end);
  const bool follows = *end != '\0' && std::strchr(" \t\r", *end) == nullptr;
  return std::isfinite(value) && !(strict && follows) ? value : std::nan("");
}

}  // namespace

// One sensor of a program, which takes the lines with its field.
class Listener {
 public:
  Listener(const SensorSpec& spec, size_t index, Samples& samples) : spec_(spec), index_(index), samples_(samples) {}

  double rate_hz() const { return spec_.rate_hz; }
  int64_t taken() const { return taken_; }

  void take_line(const std::string& line, int64_t arrived_ns) {
    if (line.compare(0, spec_.field.size(), spec_.field) != 0) return;
    const double value = leading_number(line, spec_.field.size(), spec_.field.empty());
    if (!std::isfinite(value)) return fail("no number in its line \"" + printable(line) + "\"");
    try {
      samples_.add({arrived_ns, index_, scaled(spec_, value, spec_.command[0])});
      ++taken_;
    } catch (const FileError& error) {
      failed_ = true;
      samples_.fail(index_, error.what());
    }
  }

  void fail(const std::string& what) {
    failed_ = true;
    samples_.fail(index_, spec_.command[0] + ": " + what + ".");
  }

  // Reports a failure if none of the program's `lines` was its own.
  void end(int64_t lines) {
    if (taken_ > 0 || failed_) return;
    fail(lines == 0 ? "it printed nothing"
                    : "none of its " + std::to_string(lines) + " lines starts with " + printable(spec_.field));
  }

 private:
  const SensorSpec spec_;
  const size_t index_;
  Samples& samples_;
  int64_t taken_ = 0;
  bool failed_ = false;
};

// A program, and the thread that hands its lines to its sensors.
class SharedProgram {
 public:
  SharedProgram(const std::vector<std::string>& command, std::vector<Listener> listeners)
      : process_(command), listeners_(std::move(listeners)) {
    double rates_hz = 0;
    for (const Listener& listener : listeners_) rates_hz += listener.rate_hz();
    most_lines_ = most_lines_per_second(rates_hz);
    const SignalsHeldBack none;
    running_ = pthread_create(&thread_, nullptr, entry, this) == 0;
    if (!running_) throw FileError(command[0] + ": the thread that reads it could not be started.");
  }

  ~SharedProgram() { stop(); }

  void stop() {
    process_.release();
    if (!running_) return;
    pthread_join(thread_, nullptr);
    running_ = false;
    if (!ended_) add_sampler_cpu_ns(process_.wait().cpu_ns);
    for (Listener& listener : listeners_) listener.end(all_lines_);
  }

 private:
  static void* entry(void* self) {
    leave_out_this_thread();
    static_cast<SharedProgram*>(self)->loop();
    timespec used{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    add_sampler_cpu_ns(nanoseconds(used));
    return nullptr;
  }

  void loop() {
    pollfd ends[] = {{process_.output(), POLLIN, 0}, {process_.errors(), POLLIN, 0}, {process_.life(), POLLIN, 0}};
    for (;;) {
      if (::poll(ends, 3, -1) < 0 && errno != EINTR) return fail(std::string("poll: ") + std::strerror(errno));
      if (ends[2].revents != 0) return;
      if (ends[1].revents != 0 && !take_error_output()) ends[1].fd = -1;
      if (ends[0].revents != 0 && !take_output()) return;
    }
  }

  bool take_error_output() {
    char bytes[1024];
    const ssize_t got = ::read(process_.errors(), bytes, sizeof bytes);
    if (got > 0) error_tail_.append(bytes, static_cast<size_t>(got));
    if (error_tail_.size() > kMaxLineBytes) error_tail_.erase(0, error_tail_.size() - kMaxLineBytes / 2);
    return got > 0 || (got < 0 && errno == EINTR);
  }

  // False if nothing more can come from it.
  bool take_output() {
    char bytes[kMaxLineBytes];
    const ssize_t got = ::read(process_.output(), bytes, sizeof bytes);
    const int64_t arrived_ns = now_ns();
    if (got < 0 && errno == EINTR) return true;
    if (got <= 0) return report_end(), false;
    for (ssize_t i = 0; i < got; ++i) {
      if (bytes[i] != '\n') {
        line_ += bytes[i];
        continue;
      }
      if (!count_line(arrived_ns)) return false;
      take_line(arrived_ns);
      line_.clear();
    }
    return line_.size() <= kMaxLineBytes ||
           give_up("it printed a line of over " + std::to_string(kMaxLineBytes) + " bytes");
  }

  bool count_line(int64_t now) {
    ++all_lines_;
    if (now - second_ns_ >= kSecond) {
      second_ns_ = now;
      lines_ = 0;
    }
    return ++lines_ <= most_lines_ ||
           give_up("it printed more than " + std::to_string(most_lines_) + " lines in a second");
  }

  void take_line(int64_t arrived_ns) {
    if (last_line(line_).empty()) return;
    for (Listener& listener : listeners_) listener.take_line(line_, arrived_ns);
  }

  bool give_up(const std::string& reason) {
    fail(reason + " and was ended");
    process_.release();
    return false;
  }

  void report_end() {
    process_.release();
    const ProgramProcess::Ending ending = process_.wait();
    ended_ = true;
    add_sampler_cpu_ns(ending.cpu_ns);
    while (take_error_output()) {
    }
    const std::string how = ending.status > 128 ? "by signal " + std::to_string(ending.status - 128)
                                                : "with exit code " + std::to_string(ending.status);
    const std::string_view last = last_line(error_tail_);
    const char* not_there = ending.status == 127 ? " (perhaps not installed)" : "";
    const std::string words = last.empty() ? "" : ": " + printable(last);
    for (Listener& listener : listeners_) {
      listener.fail("it ended " + how + " after " + std::to_string(listener.taken()) + " samples" + not_there + words);
    }
  }

  void fail(const std::string& what) {
    for (Listener& listener : listeners_) listener.fail(what);
  }

  ProgramProcess process_;
  int64_t most_lines_ = 0;  // in a second
  pthread_t thread_{};
  bool running_ = false;
  // Used by the thread; stop() reads them after the thread has ended.
  std::vector<Listener> listeners_;
  std::string line_;
  std::string error_tail_;  // the end of the error output
  int64_t second_ns_ = 0;
  int64_t lines_ = 0;  // in the second that began at second_ns_
  int64_t all_lines_ = 0;
  bool ended_ = false;
};

ProgramSensors::ProgramSensors(const std::vector<SensorSpec>& specs, Samples& samples) {
  std::map<std::vector<std::string>, std::vector<size_t>> by_command;
  for (size_t i = 0; i < specs.size(); ++i) {
    if (!specs[i].command.empty()) by_command[specs[i].command].push_back(i);
  }
  for (const auto& [command, indices] : by_command) {
    std::vector<Listener> listeners;
    for (const size_t i : indices) listeners.emplace_back(specs[i], i, samples);
    try {
      sensors_.push_back(std::make_unique<SharedProgram>(command, std::move(listeners)));
    } catch (const FileError& error) {
      for (const size_t i : indices) samples.fail(i, error.what());
    }
  }
}

ProgramSensors::~ProgramSensors() { stop(); }

void ProgramSensors::stop() {
  for (const auto& sensor : sensors_) sensor->stop();
}

}  // namespace runner
