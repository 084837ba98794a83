// Why a session could not be completed: what the footer reports.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

namespace runner {

enum class Stage { job, load, input, execute, state };

constexpr const char* stage_name(Stage stage) {
  switch (stage) {
    case Stage::job: return "job";
    case Stage::load: return "load";
    case Stage::input: return "input";
    case Stage::execute: return "execute";
    case Stage::state: return "state";
  }
  return "job";
}

class Failure : public std::runtime_error {
 public:
  Failure(Stage stage, const std::string& reason, std::optional<uint32_t> code = std::nullopt)
      : std::runtime_error(reason), stage(stage), code(code) {}

  const Stage stage;
  const std::optional<uint32_t> code;  // ExecuTorch's error code
};

}  // namespace runner
