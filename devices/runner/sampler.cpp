#include "sampler.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "allocations.h"
#include "clock.h"
#include "signals.h"

namespace runner {
namespace {

std::atomic<bool> thread_alive{false};
std::atomic<int64_t> finished_cpu_ns{0};
clockid_t thread_clock;  // valid while thread_alive

timespec as_timespec(int64_t ns) {
  return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

}  // namespace

Sampler::Sampler(const std::vector<SensorSpec>& specs, Samples& samples) : samples_(samples) {
  pthread_mutex_init(&mutex_, nullptr);
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&wake_, &attributes);
  pthread_condattr_destroy(&attributes);
  const int64_t start = now_ns();
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].command.empty()) {
      schedule_.push_back({Sensor(specs[i]), i, start, std::llround(1e9 / specs[i].rate_hz)});
    }
  }
  if (schedule_.empty()) return;
  {
    const SignalsHeldBack none;
    running_ = pthread_create(&thread_, nullptr, entry, this) == 0;
  }
  for (const Scheduled& item : schedule_) {
    if (!running_) samples_.fail(item.index, "The sampling thread could not be started.");
  }
}

Sampler::~Sampler() {
  stop();
  pthread_cond_destroy(&wake_);
  pthread_mutex_destroy(&mutex_);
}

void* Sampler::entry(void* self) {
  leave_out_this_thread();
  pthread_getcpuclockid(pthread_self(), &thread_clock);
  thread_alive = true;
  static_cast<Sampler*>(self)->loop();
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  finished_cpu_ns += nanoseconds(used);
  thread_alive = false;
  return nullptr;
}

int64_t Sampler::earliest() const {
  int64_t first = schedule_[0].next_ns;
  for (const Scheduled& item : schedule_) first = std::min(first, item.next_ns);
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
  for (Scheduled& item : schedule_) {
    if (item.next_ns > now) continue;
    try {
      const int64_t before = now_ns();
      const double value = item.sensor.read();
      const int64_t middle = before + (now_ns() - before) / 2;
      samples_.add({middle, item.index, value});
    } catch (const FileError& error) {
      samples_.fail(item.index, error.what());
    }
    // Missed deadlines are skipped, not made up for.
    const int64_t late = now_ns() - item.next_ns;
    item.next_ns += (late / item.period_ns + 1) * item.period_ns;
  }
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
  if (thread_alive && clock_gettime(thread_clock, &used) == 0) return nanoseconds(used) + finished_cpu_ns;
  return finished_cpu_ns;
}

void add_sampler_cpu_ns(int64_t ns) { finished_cpu_ns += ns; }

}  // namespace runner
