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
  // Checks the job's inputs against the programs', and their files' sizes. Throws Failure of stage `input`.
  Inputs(const std::vector<InputSpec>& specs, const TrainingProgram& program);

  // Prepares the inputs of step `index`, reading files. Throws Failure of stage `input`.
  void prepare(int64_t index);
  // Passes the prepared values to the program with the shortest rows that hold them.
  void apply(TrainingProgram& program);
  // The tokens of a row in the prepared step, if there are programs for several lengths.
  std::optional<int64_t> length() const {
    return lengths_.empty() ? std::nullopt : std::optional<int64_t>(lengths_[which_]);
  }

 private:
  struct Slot {
    const InputSpec* spec;
    std::optional<File> file;
    std::vector<uint8_t> bytes;
    std::vector<int32_t> sizes;
    std::vector<uint8_t> dim_order;
    std::vector<int32_t> strides;
    std::optional<executorch::aten::TensorImpl> tensor;

    void shape_tensor();
  };
  static bool is_int64_file(const Slot* slot);
  size_t shortest() const;
  void shorten(int32_t length);

  std::vector<Slot> slots_;
  // Where rows may be shorter: int64 [b, T] and the index of each row's first real token, int64 [b].
  Slot* tokens_ = nullptr;
  Slot* first_ = nullptr;
  std::vector<int32_t> lengths_;  // of each program's rows
  size_t which_ = 0;
};

}  // namespace runner
