// A program that runs beside the session and ends with it, whatever ends the runner.
//
// Between the two is a watcher: a fork of the runner that only waits until the program ends or its pipe from the runner
// is closed, which also happens when the runner is killed. Then it ends the program's whole process group.
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
    int64_t cpu_ns;  // of the program, the children it waited for, and the watcher
  };

  // Starts it with pipes for both outputs. Throws FileError if it can't be started.
  explicit ProgramProcess(const std::vector<std::string>& command);
  ~ProgramProcess();
  ProgramProcess(const ProgramProcess&) = delete;
  ProgramProcess& operator=(const ProgramProcess&) = delete;

  int output() const { return output_; }
  int errors() const { return errors_; }
  // Hangs up (poll) once release() has been called.
  int life() const { return life_; }
  // Makes the watcher end the program; any thread may call it.
  void release();
  // Waits for its end, which release() brings about, and reaps it. To be called once.
  Ending wait();

 private:
  int output_ = -1;
  int errors_ = -1;
  int life_ = -1;
  std::atomic<int> hold_{-1};  // the program lives while this end of the pipe is open
  pid_t watcher_ = -1;
};

}  // namespace runner
