// One session: load, warm-up steps, measured steps, and the events printed along the way.
#pragma once

#include <functional>
#include <string>

#include "events.h"
#include "inputs.h"
#include "profile.h"
#include "training_program.h"

namespace runner {

class Session {
 public:
  explicit Session(Events& events) : events_(events) {}

  // Runs the job and prints every event up to the footer, which it returns. Throws OutputLost.
  Footer run(const std::string& job_path);

 private:
  Footer run_job(const Job& job);
  Footer train(const Job& job, Samples& samples);
  // With `profile`, every second step runs on the traced twin of the program.
  void make_steps(const Job& job, TrainingProgram& program, Inputs& inputs, Samples& samples, Profile* profile);
  Footer guarded(const std::function<Footer()>& work);
  void enter(Stage stage);

  Events& events_;
  Stage stage_ = Stage::job;
  int64_t steps_ = 0;
};

}  // namespace runner
