// A thread that reads sensors on absolute deadlines, on the same clock as the steps.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <vector>

#include "job.h"
#include "samples.h"
#include "sensor.h"

namespace runner {

class Sampler {
 public:
  // Starts the thread for the sensors that are files, if there are any.
  Sampler(const std::vector<SensorSpec>& specs, Samples& samples);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  // Ends the thread; nothing is sampled afterwards.
  void stop();

 private:
  struct Scheduled {
    Sensor sensor;
    size_t index;  // among all sensors of the job
    int64_t next_ns;
    int64_t period_ns;
  };

  static void* entry(void* self);
  void loop();
  void read_due(int64_t now);
  int64_t earliest() const;

  Samples& samples_;
  std::vector<Scheduled> schedule_;
  pthread_t thread_{};
  pthread_mutex_t mutex_;
  pthread_cond_t wake_;
  bool running_ = false;
  bool stopping_ = false;
};

// Processor time that sampling has cost so far: the sampler's thread, and programs that have ended. 0 without sensors.
// May be called from a signal handler.
int64_t sampler_cpu_ns();
// Adds the processor time of a sensor's program, or of the thread that read it.
void add_sampler_cpu_ns(int64_t ns);

}  // namespace runner
