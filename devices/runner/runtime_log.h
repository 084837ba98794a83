// What ExecuTorch says about its failures. Its error codes alone don't name the operator or the backend.
#pragma once

#include <string>

namespace runner {

// Keeps the runtime's error messages, and copies them to standard error.
void capture_runtime_log();

// The latest error messages since the last call of forget, oldest first, joined; empty when there are none.
std::string runtime_messages();
void forget_runtime_messages();

// The latest error message, with neither quotes nor control characters; for a signal handler.
const char* last_runtime_message();

}  // namespace runner
