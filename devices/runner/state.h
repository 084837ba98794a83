// Reading the trained state out of a program and putting it back, in the safetensors format: eight bytes with the
// header's length (little endian), a JSON header with type, shape and place of each tensor, then the values.
#pragma once

#include <cstdint>
#include <string>

#include "training_program.h"

namespace runner {

// Writes every named mutable buffer; the file appears when it is complete. Throws Failure of stage `state`.
void save_state(TrainingProgram& program, const std::string& path, const std::string& session, int64_t steps);

// Sets the buffers that the file names; others keep their zeros. A name, type or shape that the program doesn't have
// is a Failure of stage `state`.
void load_state(TrainingProgram& program, const std::string& path);

}  // namespace runner
