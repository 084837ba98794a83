#include "runtime_failure.h"

#include "runtime_log.h"

namespace runner {
namespace {

using executorch::runtime::Error;

// What to do about an error, if the code alone determines it.
const char* advice(Error error) {
  switch (error) {
    case Error::OperatorMissing:
      return " This runner lacks an operator of the program: export it without that operator, or link in the kernel.";
    case Error::InvalidProgram:
    case Error::InvalidExternalData: return " The file is damaged or was made by another version: deploy it again.";
    case Error::InvalidState:
      return " It may need data files that the job does not name: deploy it again with its data files.";
    case Error::NotFound:
      return " The program needs a backend, a method or a constant of a data file that is missing: deploy it again with"
             " its data files, and make /sys/devices/system/cpu readable.";
    case Error::MemoryAllocationFailed:
    case Error::DelegateMemoryAllocationFailed: return " There is not enough memory: choose a smaller batch or model.";
    default: return "";
  }
}

}  // namespace

void fail(Stage stage, const std::string& what, Error error) {
  const std::string messages = runtime_messages();
  throw Failure(stage, what + (messages.empty() ? "." : ": " + messages + ".") + advice(error),
                static_cast<uint32_t>(error));
}

}  // namespace runner
