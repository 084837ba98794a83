// Where the time of a step goes: the runtime's events for each instruction of a program, for the operators of a
// delegate and for the parts of our kernels.
#pragma once

#include <executorch/runtime/core/event_tracer.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace runner {

// One call of a kernel or delegate. `Profile::parts` has the names of its parts.
struct Call {
  int64_t instruction;
  int64_t t0_ns;
  int64_t t1_ns;
  bool of_threads;  // parts' times are summed over all threads, else by the clock
  std::vector<int64_t> parts_ns;
};

class Profile final : public executorch::runtime::EventTracer {
 public:
  using Names = std::vector<std::string>;

  Profile() { set_event_tracer_profiling_level(executorch::runtime::EventTracerProfilingLevel::kProfileAllEvents); }

  // Begins a step; kernels time their parts until `end_step`.
  void begin_step();
  void end_step();

  // Of the last step.
  const std::vector<Call>& calls() const { return calls_; }
  // The names of an instruction's parts, and whether the last step changed them.
  struct Parts {
    Names names;
    bool changed = false;
  };
  const std::map<int64_t, Parts>& parts() const { return parts_; }

 private:
  using EventTracerEntry = executorch::runtime::EventTracerEntry;
  using ChainID = executorch::runtime::ChainID;
  using DebugHandle = executorch::runtime::DebugHandle;
  using Tensor = executorch::aten::Tensor;
  template <typename T>
  using Result = executorch::runtime::Result<T>;

  EventTracerEntry start_profiling(const char* name, ChainID chain, DebugHandle handle) override;
  void end_profiling(EventTracerEntry entry) override;
  void log_profiling_delegate(const char* name, executorch::runtime::DelegateDebugIntId id,
                              et_timestamp_t start, et_timestamp_t end,
                              const void*, size_t) override;

  // None of these is needed here.
  void create_event_block(const char*) override {}
  EventTracerEntry start_profiling_delegate(const char*, executorch::runtime::DelegateDebugIntId) override {
    return {};
  }
  void end_profiling_delegate(EventTracerEntry, const void*, size_t) override {}
  void track_allocation(executorch::runtime::AllocatorID, size_t) override {}
  executorch::runtime::AllocatorID track_allocator(const char*) override { return 0; }
  Result<bool> log_evalue(const executorch::runtime::EValue&, executorch::runtime::LoggedEValueType) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, executorch::runtime::DelegateDebugIntId,
                                                const Tensor&) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, executorch::runtime::DelegateDebugIntId,
                                                const executorch::runtime::ArrayRef<Tensor>) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, executorch::runtime::DelegateDebugIntId,
                                                const int&) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, executorch::runtime::DelegateDebugIntId,
                                                const bool&) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, executorch::runtime::DelegateDebugIntId,
                                                const double&) override {
    return false;
  }
  void set_delegation_intermediate_output_filter(executorch::runtime::EventTracerFilterBase*) override {}

  void add_part(const std::string& name, int64_t ns);

  std::vector<Call> calls_;
  std::map<int64_t, Parts> parts_;
  bool on_ = false;
  bool in_call_ = false;
};

}  // namespace runner
