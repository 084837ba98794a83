// Signals: a request to stop after the current step, and a footer from a crash.
#pragma once

#include <signal.h>

#include <cstdint>

#include "failure.h"

namespace runner {

// SIGTERM and SIGINT are noted for stop_signal(). A fatal signal prints a footer to `fd` with async-signal-safe calls
// and then ends the process as if it had not been caught. A closed pipe is an error of write(2), not a signal.
void install_signals(int fd);

// The name of the signal that requested a stop, nullptr if there was none.
const char* stop_signal();

// The stage and the number of steps that a crash footer reports.
void note_stage(Stage stage);
void note_steps(int64_t steps);

// While printing, a line may be half written; a crash then begins a new one.
void note_printing(bool under_way);

// Threads that are started during its lifetime get only the fatal signals: the others belong to the main thread.
class SignalsHeldBack {
 public:
  SignalsHeldBack();
  ~SignalsHeldBack();
  SignalsHeldBack(const SignalsHeldBack&) = delete;
  SignalsHeldBack& operator=(const SignalsHeldBack&) = delete;

 private:
  sigset_t before_;
};

}  // namespace runner
