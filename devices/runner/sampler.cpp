#include "sampler.h"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "clock.h"

namespace runner {
namespace {

std::atomic<bool> thread_alive{false};
std::atomic<int64_t> finished_cpu_ns{0};
clockid_t thread_clock;  // valid while thread_alive

timespec as_timespec(int64_t ns) {
  return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

}  // namespace

Sampler::Sampler(const std::vector<SensorSpec>& specs) : errors_(specs.size()) {
  pthread_mutex_init(&mutex_, nullptr);
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&wake_, &attributes);
  pthread_condattr_destroy(&attributes);
  const int64_t start = now_ns();
  for (const SensorSpec& spec : specs) {
    sensors_.emplace_back(spec);
    schedule_.push_back({start, std::llround(1e9 / spec.rate_hz)});
  }
  if (specs.empty()) return;
  samples_.reserve(4096);
  // Signals belong to the main thread.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  for (const int fatal : {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE}) sigdelset(&all, fatal);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  running_ = pthread_create(&thread_, nullptr, entry, this) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  for (SensorErrors& error : errors_) {
    if (!running_) error = {1, "The sampling thread could not be started."};
  }
}

Sampler::~Sampler() {
  stop();
  pthread_cond_destroy(&wake_);
  pthread_mutex_destroy(&mutex_);
}

void* Sampler::entry(void* self) {
  pthread_getcpuclockid(pthread_self(), &thread_clock);
  thread_alive = true;
  static_cast<Sampler*>(self)->loop();
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  finished_cpu_ns = nanoseconds(used);
  thread_alive = false;
  return nullptr;
}

int64_t Sampler::earliest() const {
  int64_t first = schedule_[0].next_ns;
  for (const Schedule& item : schedule_) first = std::min(first, item.next_ns);
  return first;
}

void Sampler::loop() {
  pthread_mutex_lock(&mutex_);
  while (!stopping_) {
    const timespec deadline = as_timespec(earliest());
    // Absolute time on the monotonic clock: no drift, and stop() need not wait for a slow sensor's period.
    pthread_cond_timedwait(&wake_, &mutex_, &deadline);
    if (stopping_) break;
    pthread_mutex_unlock(&mutex_);
    read_due(now_ns());
    pthread_mutex_lock(&mutex_);
  }
  pthread_mutex_unlock(&mutex_);
}

void Sampler::read_due(int64_t now) {
  for (size_t i = 0; i < sensors_.size(); ++i) {
    Schedule& item = schedule_[i];
    if (item.next_ns > now) continue;
    try {
      const int64_t before = now_ns();
      const double value = sensors_[i].read();
      const int64_t middle = before + (now_ns() - before) / 2;
      pthread_mutex_lock(&mutex_);
      samples_.push_back({middle, i, value});
      pthread_mutex_unlock(&mutex_);
    } catch (const FileError& error) {
      if (errors_[i].count++ == 0) errors_[i].reason = error.what();
    }
    // Deadlines that were missed are left out, not made up for.
    const int64_t late = now_ns() - item.next_ns;
    item.next_ns += (late / item.period_ns + 1) * item.period_ns;
  }
}

std::vector<Sample> Sampler::take() {
  std::vector<Sample> taken;
  taken.reserve(4096);
  pthread_mutex_lock(&mutex_);
  taken.swap(samples_);
  pthread_mutex_unlock(&mutex_);
  return taken;
}

void Sampler::stop() {
  if (!running_) return;
  pthread_mutex_lock(&mutex_);
  stopping_ = true;
  pthread_cond_signal(&wake_);
  pthread_mutex_unlock(&mutex_);
  pthread_join(thread_, nullptr);
  running_ = false;
}

int64_t sampler_cpu_ns() {
  timespec used{};
  if (thread_alive && clock_gettime(thread_clock, &used) == 0) return nanoseconds(used);
  return finished_cpu_ns;
}

}  // namespace runner
