// Samples that the sensors' threads collect and the session takes, behind one lock.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <string>
#include <vector>

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

class Samples {
 public:
  explicit Samples(size_t sensors) : errors_(sensors) { samples_.reserve(4096); }
  ~Samples() { pthread_mutex_destroy(&mutex_); }
  Samples(const Samples&) = delete;
  Samples& operator=(const Samples&) = delete;

  void add(const Sample& sample) {
    const Lock lock(mutex_);
    samples_.push_back(sample);
  }

  void fail(size_t sensor, const std::string& reason) {
    const Lock lock(mutex_);
    if (errors_[sensor].count++ == 0) errors_[sensor].reason = reason;
  }

  // The samples since the last call. Cheap: the threads only have to wait for a swap of two pointers.
  std::vector<Sample> take() {
    std::vector<Sample> taken;
    taken.reserve(4096);
    const Lock lock(mutex_);
    taken.swap(samples_);
    return taken;
  }

  std::vector<SensorErrors> errors() {
    const Lock lock(mutex_);
    return errors_;
  }

 private:
  class Lock {
   public:
    explicit Lock(pthread_mutex_t& mutex) : mutex_(mutex) { pthread_mutex_lock(&mutex_); }
    ~Lock() { pthread_mutex_unlock(&mutex_); }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    pthread_mutex_t& mutex_;
  };

  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  std::vector<Sample> samples_;
  std::vector<SensorErrors> errors_;
};

}  // namespace runner
