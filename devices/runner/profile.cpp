#include "profile.h"

#include <executorch/runtime/platform/platform.h>

#include "clock.h"
#include "kernels/part_times.h"

namespace runner {
namespace {

constexpr int64_t kOurs = 1;  // the entry of a call; events within a call have another

}  // namespace

void Profile::begin_step() {
  calls_.clear();
  for (auto& [instruction, parts] : parts_) parts.changed = false;
  on_ = true;
  prge::part_times();
  prge::take_times(true);
}

void Profile::end_step() {
  on_ = false;
  prge::take_times(false);
}

// The runtime starts an instruction's call with its number set; within the call, kernels start events of their own.
Profile::EventTracerEntry Profile::start_profiling(const char*, ChainID, DebugHandle) {
  EventTracerEntry entry{};
  if (!on_ || in_call_ || current_chain_id() == executorch::runtime::kUnsetChainId) return entry;
  in_call_ = true;
  entry.event_id = kOurs;
  calls_.push_back({static_cast<int64_t>(current_debug_handle()), now_ns(), 0, false, {}});
  return entry;
}

void Profile::end_profiling(EventTracerEntry entry) {
  if (entry.event_id != kOurs) return;
  Call& call = calls_.back();
  call.t1_ns = now_ns();
  in_call_ = false;
  for (const prge::PartTime& part : prge::part_times()) {
    call.of_threads = true;
    std::string name = prge::name_of(part.work);
    if (part.projection != prge::kNoProjection) name += std::string(" ") + prge::projection_name(part.projection);
    add_part(name, part.ns);
  }
}

void Profile::log_profiling_delegate(const char* name, executorch::runtime::DelegateDebugIntId,
                                     et_timestamp_t start,
                                     et_timestamp_t end, const void*, size_t) {
  if (!on_ || !in_call_ || name == nullptr) return;
  const auto per_tick = executorch::runtime::pal_ticks_to_ns_multiplier();
  add_part(name, static_cast<int64_t>((end - start) * per_tick.numerator / per_tick.denominator));
}

void Profile::add_part(const std::string& name, int64_t ns) {
  Call& call = calls_.back();
  Parts& parts = parts_[call.instruction];
  const size_t index = call.parts_ns.size();
  if (index >= parts.names.size()) {
    parts.names.push_back(name);
    parts.changed = true;
  } else if (parts.names[index] != name) {
    parts.names[index] = name;
    parts.changed = true;
  }
  call.parts_ns.push_back(ns);
}

}  // namespace runner
