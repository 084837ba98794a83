// Sensors that are programs: each is started once and prints one number a line until it is ended. Sensors with the same
// command share one program.
#pragma once

#include <memory>
#include <vector>

#include "job.h"
#include "samples.h"

namespace runner {

class SharedProgram;

class ProgramSensors {
 public:
  // Starts the programs of the sensors that have a command, each once and with a thread that waits for its lines.
  ProgramSensors(const std::vector<SensorSpec>& specs, Samples& samples);
  ~ProgramSensors();
  ProgramSensors(const ProgramSensors&) = delete;
  ProgramSensors& operator=(const ProgramSensors&) = delete;

  // Ends them all, with the processes that they have started.
  void stop();

 private:
  std::vector<std::unique_ptr<SharedProgram>> sensors_;
};

}  // namespace runner
