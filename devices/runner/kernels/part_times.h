// The time that each part of a kernel takes, summed over threads: what `suite profile` shows for an operator that does
// the work of many. A part costs two readings of the clock while times are taken, and otherwise a check of a flag.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

namespace prge {

// Kinds of work; their names are what the profile calls them (docs/profile.md).
enum class Work {
  product, decode, low_rank, inner_products, norm, rotary, scores, softmax, mix, gate, pack, bias, kinds
};

constexpr int kNoProjection = 7;  // stands for work that belongs to no projection of a layer, or to several

struct PartTime {
  Work work;
  int projection;  // of enum Projection, or kNoProjection
  int64_t ns;      // of all threads together
};

const char* name_of(Work work);
// q_proj and so on, empty for none.
const char* projection_name(int projection);

// Starts or stops taking times. Call it while no kernel runs.
void take_times(bool on);
bool takes_times();
// The times of the parts that took any since the last call. Call it while no kernel runs.
std::vector<PartTime> part_times();
void add_time(Work work, int projection, int64_t ns);

// Adds its own lifetime to the time of a part. Parts must not be nested.
class PartTimer {
 public:
  using Clock = std::chrono::steady_clock;

  explicit PartTimer(Work work, int projection = kNoProjection)
      : work_(work), projection_(projection), on_(takes_times()) {
    if (on_) start_ = Clock::now();
  }
  ~PartTimer() {
    if (!on_) return;
    const auto spent = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_);
    add_time(work_, projection_, spent.count());
  }
  PartTimer(const PartTimer&) = delete;
  PartTimer& operator=(const PartTimer&) = delete;

 private:
  Work work_;
  int projection_;
  bool on_;
  Clock::time_point start_;
};

}  // namespace prge
