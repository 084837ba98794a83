#include "part_times.h"

#include <atomic>

namespace prge {
namespace {

constexpr int kKinds = static_cast<int>(Work::kinds);
constexpr int kPlaces = kNoProjection + 1;

// Changed only while no kernel runs; starting and ending a parallel loop orders the accesses.
bool on = false;
std::atomic<int64_t> spent_ns[kKinds][kPlaces];

}  // namespace

const char* name_of(Work work) {
  static const char* const names[kKinds] = {"product", "decode",  "low_rank", "inner_products", "norm", "rotary",
                                            "scores",  "softmax", "mix",      "gate",           "pack", "bias"};
  return names[static_cast<int>(work)];
}

const char* projection_name(int projection) {
  static const char* const names[kPlaces] = {"q_proj",    "k_proj",  "v_proj",    "o_proj",
                                             "gate_proj", "up_proj", "down_proj", ""};
  return names[projection];
}

void take_times(bool wanted) { on = wanted; }

bool takes_times() { return on; }

void add_time(Work work, int projection, int64_t ns) {
  spent_ns[static_cast<int>(work)][projection].fetch_add(ns, std::memory_order_relaxed);
}

std::vector<PartTime> part_times() {
  std::vector<PartTime> times;
  for (int kind = 0; kind < kKinds; ++kind) {
    for (int place = 0; place < kPlaces; ++place) {
      const int64_t ns = spent_ns[kind][place].exchange(0, std::memory_order_relaxed);
      if (ns > 0) times.push_back({static_cast<Work>(kind), place, ns});
    }
  }
  return times;
}

}  // namespace prge
