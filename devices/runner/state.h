// Saves a program's trained state and loads it again, in the safetensors format: eight bytes with the header's length
// (little endian), a JSON header with type, shape and place of each tensor, then the values.
#pragma once

#include <cstdint>
#include <string>

#include "training_program.h"

namespace runner {

// Writes every named mutable buffer; the file appears only when it is complete. Throws Failure of stage `state`.
void save_state(TrainingProgram& program, const std::string& path, const std::string& session, int64_t steps);

// Sets the buffers that the file names; others stay as they are. Throws Failure of stage `state` for a name, type or
// shape that the program doesn't have.
void load_state(TrainingProgram& program, const std::string& path);

}  // namespace runner
