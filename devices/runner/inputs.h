// The program's inputs, step by step.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "file.h"
#include "job.h"
#include "training_program.h"

namespace runner {

class Inputs {
 public:
  // Checks the job's inputs against the program's, and their files' sizes. Throws Failure of stage `input`.
  Inputs(const std::vector<InputSpec>& specs, const TrainingProgram& program);

  // Reads what step `index` takes from the files. Throws Failure of stage `input`.
  void prepare(int64_t index);
  // Hands the prepared values to the program.
  void apply(TrainingProgram& program);

 private:
  struct Slot {
    const InputSpec* spec;
    std::optional<File> file;
    std::vector<uint8_t> bytes;
    std::vector<int32_t> sizes;
    std::vector<uint8_t> dim_order;
    std::vector<int32_t> strides;
    std::optional<executorch::aten::TensorImpl> tensor;
  };
  std::vector<Slot> slots_;
};

}  // namespace runner
