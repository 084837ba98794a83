// A program that runs beside the session and ends with it, whatever ends the runner.
//
// Between the two stands a watcher: a fork of the runner that only waits for the program's end, or for that of a pipe
// from the runner, which comes also when the runner is killed. Then it ends the program's whole process group.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace runner {

class ProgramProcess {
 public:
  struct Ending {
    int status;      // exit code, 128 + n for signal n
    int64_t cpu_ns;  // of the program, what it started and waited for, and the watcher
  };

  // Starts it with pipes for both outputs. FileError when it can't be started.
  explicit ProgramProcess(const std::vector<std::string>& command);
  ~ProgramProcess();
  ProgramProcess(const ProgramProcess&) = delete;
  ProgramProcess& operator=(const ProgramProcess&) = delete;

  int output() const { return output_; }
  int errors() const { return errors_; }
  // Hangs up (poll) as soon as release() was called.
  int life() const { return life_; }
  // Has the program ended; any thread may ask.
  void release();
  // Waits for its end, which release() brings about, and reaps it. Once only.
  Ending wait();

 private:
  int output_ = -1;
  int errors_ = -1;
  int life_ = -1;
  std::atomic<int> hold_{-1};  // the program lives while this end of the pipe is open
  pid_t watcher_ = -1;
};

}  // namespace runner
