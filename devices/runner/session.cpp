#include "session.h"

#include <malloc.h>

#include <new>

#include "clock.h"
#include "kernels/simd.h"
#include "library_pages.h"
#include "program_sensor.h"
#include "runtime_log.h"
#include "sampler.h"
#include "signals.h"
#include "state.h"
#include "thread_pool.h"
#include "warm_up.h"

namespace runner {
namespace {

using executorch::aten::ScalarType;

// Checks, before any time is spent, that the program has the output that should hold the losses.
void check_losses_output(const Job& job, const TrainingProgram& program) {
  if (!job.losses_output) return;
  const auto index = static_cast<size_t>(*job.losses_output);
  const size_t outputs = program.meta().num_outputs();
  const auto info = program.meta().output_tensor_meta(index);
  if (index >= outputs || !info.ok() || info->scalar_type() != ScalarType::Float) {
    throw Failure(Stage::input, "job.outputs.losses is output " + std::to_string(index) +
                                    ", which is not a float32 tensor among the program's " + std::to_string(outputs) +
                                    " outputs.");
  }
}

std::vector<float> losses_of(const Job& job, const TrainingProgram& program) {
  if (!job.losses_output) return {};
  const auto& tensor = program.output(static_cast<size_t>(*job.losses_output)).toTensor();
  const float* values = tensor.const_data_ptr<float>();
  return {values, values + tensor.numel()};
}

// Makes the kernels use the variant that a job names.
void choose_kernels(const std::string& name) {
  if (name.empty() || prge::choose_simd_loops(name)) return;
  std::string known;
  for (size_t i = 0; prge::simd_variant(i) != nullptr; ++i) {
    known += (i == 0 ? "" : prge::simd_variant(i + 1) == nullptr ? " or " : ", ");
    known += prge::simd_variant(i)->name;
  }
  throw Failure(Stage::job, "job.kernels must be " + known + ", which this processor can run, not \"" + name + "\".");
}

class Progress {
 public:
  explicit Progress(const Job& job) : job_(job), warm_up_(job.warm_up) {}

  bool warm() const { return warm_up_.over(); }

  bool complete() const { return warm() && steps_ >= job_.steps && seconds_ >= job_.min_measured_seconds; }

  void add_step(int64_t t0_ns, int64_t t1_ns) {
    if (!warm()) {
      warm_up_.add_step(static_cast<double>(t1_ns - t0_ns) * 1e-9);
      return;
    }
    if (steps_++ == 0) since_ns_ = t0_ns;
    seconds_ = static_cast<double>(t1_ns - since_ns_) * 1e-9;
  }

 private:
  const Job& job_;
  WarmUp warm_up_;
  int64_t steps_ = 0;
  int64_t since_ns_ = 0;
  double seconds_ = 0.0;
};

}  // namespace

Footer Session::run(const std::string& job_path) {
  capture_runtime_log();
  return guarded([&] { return run_job(read_job(job_path)); });
}

Footer Session::run_job(const Job& job) {
  choose_kernels(job.kernels);
  const std::vector<int> cpus = pin_to_cpus(job.cpus);
  const int64_t threads = set_thread_count(job.threads);
  events_.header(job, describe_machine(), threads, cpus);
  if (threads == 0) throw Failure(Stage::load, kNoThreads);
  Samples samples(job.sensors.size());
  ProgramSensors programs(job.sensors, samples);
  Sampler sampler(job.sensors, samples);
  const Footer footer = guarded([&] { return train(job, samples); });
  sampler.stop();
  programs.stop();
  events_.samples(samples.take(), job.sensors);
  events_.sensor_errors(samples.errors(), job.sensors);
  return footer;
}

Footer Session::train(const Job& job, Samples& samples) {
  enter(Stage::load);
  const int64_t t0_ns = now_ns();
  std::optional<Profile> profile;
  if (job.profile) profile.emplace();
  TrainingProgram program(job.program, job.data, job.method, job.shorter, profile ? &*profile : nullptr);
  ::malloc_trim(0);  // returns to the system what loading freed, before memory is measured
  drop_library_pages();
  events_.load(t0_ns, now_ns(), program.bytes());

  enter(Stage::input);
  Inputs inputs(job.inputs, program);
  check_losses_output(job, program);
  enter(Stage::state);
  if (!job.state_in.empty()) load_state(program, job.state_in);
  enter(Stage::execute);
  make_steps(job, program, inputs, samples, profile ? &*profile : nullptr);
  enter(Stage::state);
  if (!job.state_out.empty()) save_state(program, job.state_out, job.session, steps_);

  const char* stopped = stop_signal();
  if (stopped != nullptr) return {"signal", stopped, std::nullopt, std::nullopt, steps_};
  return {"completed", "", std::nullopt, std::nullopt, steps_};
}

void Session::make_steps(const Job& job, TrainingProgram& program, Inputs& inputs, Samples& samples, Profile* profile) {
  Progress progress(job);
  const bool counted = job.memory_every > 0 && why_no_allocations() == nullptr;
  while (stop_signal() == nullptr && !progress.complete()) {
    inputs.prepare(steps_);
    program.drop_touched_pages();
    forget_runtime_messages();
    const bool measured = progress.warm();
    const bool profiled = profile != nullptr && steps_ % 2 == 1;
    if (profile != nullptr) program.trace(profiled);
    if (profiled) profile->begin_step();
    if (counted) begin_counting_allocations();
    const int64_t t0_ns = now_ns();
    inputs.apply(program);
    program.execute();
    const int64_t t1_ns = now_ns();
    std::optional<Allocations> allocations;
    if (counted) allocations = end_counting_allocations();
    note_steps(++steps_);
    events_.step(steps_ - 1, measured, t0_ns, t1_ns, losses_of(job, program), inputs.length(), allocations);
    if (profiled) {
      profile->end_step();
      events_.profile(steps_ - 1, *profile);
    }
    if (job.memory_every > 0 && (steps_ - 1) % job.memory_every == 0) events_.memory(steps_ - 1);
    events_.samples(samples.take(), job.sensors);
    progress.add_step(t0_ns, t1_ns);
  }
}

// A failure becomes a footer, so that no session ends without one.
Footer Session::guarded(const std::function<Footer()>& work) {
  try {
    return work();
  } catch (const Failure& failure) {
    return {"error", failure.what(), failure.code, failure.stage, steps_};
  } catch (const std::bad_alloc&) {
    return {"error", "There is not enough memory: choose a smaller batch or model.", std::nullopt, stage_, steps_};
  }
}

void Session::enter(Stage stage) {
  stage_ = stage;
  note_stage(stage);
}

}  // namespace runner
