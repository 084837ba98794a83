// ExecuTorch's messages about its failures: its error codes alone don't name the operator or the backend.
#pragma once

#include <string>

namespace runner {

// Keeps the runtime's error messages, and copies them to standard error.
void capture_runtime_log();

// The first few error messages since the last call of forget, oldest first, joined; empty if there are none.
std::string runtime_messages();
void forget_runtime_messages();

// The latest error message, without quotes and control characters; for a signal handler.
const char* last_runtime_message();

}  // namespace runner
