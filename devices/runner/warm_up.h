// When the warm-up is over: two moving averages of the step time, a fast and a slow one, agree
// (the rule of androidx benchmark's WarmupManager; bounds in docs/contracts.md, "Job").
#pragma once

#include <cmath>
#include <cstdint>

#include "job.h"

namespace runner {

class WarmUp {
 public:
  explicit WarmUp(const WarmUpRule& rule) : rule_(rule) {}

  void add_step(double seconds) {
    fast_ = steps_ == 0 ? seconds : fast_ + (seconds - fast_) / 2;
    slow_ = steps_ == 0 ? seconds : slow_ + (seconds - slow_) / 8;
    elapsed_ += seconds;
    ++steps_;
  }

  // At least `min_steps` are made; one step can't agree with itself.
  bool over() const {
    if (steps_ < rule_.min_steps) return false;
    if (steps_ >= rule_.max_steps || elapsed_ >= rule_.max_seconds) return true;
    return steps_ >= 2 && std::fabs(fast_ - slow_) <= rule_.tolerance * slow_;
  }

 private:
  WarmUpRule rule_;
  int64_t steps_ = 0;
  double elapsed_ = 0.0;
  double fast_ = 0.0;
  double slow_ = 0.0;
};

}  // namespace runner
