// A thread that reads sensors on absolute deadlines, on the same clock as the steps.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <string>
#include <vector>

#include "job.h"
#include "sensor.h"

namespace runner {

struct Sample {
  int64_t t_ns;
  size_t sensor;
  double value;
};

struct SensorErrors {
  int64_t count = 0;
  std::string reason;  // of the first one
};

class Sampler {
 public:
  // Starts the thread; with no sensors there is none.
  explicit Sampler(const std::vector<SensorSpec>& specs);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  // The samples since the last call. Cheap: the thread is held up for a swap of two pointers.
  std::vector<Sample> take();
  // Ends the thread; nothing is sampled afterwards.
  void stop();
  // Failed readings of each sensor; after stop().
  const std::vector<SensorErrors>& errors() const { return errors_; }

 private:
  struct Schedule {
    int64_t next_ns;
    int64_t period_ns;
  };

  static void* entry(void* self);
  void loop();
  void read_due(int64_t now);
  int64_t earliest() const;

  std::vector<Sensor> sensors_;
  std::vector<Schedule> schedule_;
  std::vector<SensorErrors> errors_;
  pthread_t thread_{};
  pthread_mutex_t mutex_;
  pthread_cond_t wake_;
  bool running_ = false;
  bool stopping_ = false;
  std::vector<Sample> samples_;
};

// Processor time the sampler's thread has used so far; 0 without one. May be called from a signal handler.
int64_t sampler_cpu_ns();

}  // namespace runner
