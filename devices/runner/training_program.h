// A loaded method: one training step, its memory and its named state.
#pragma once

#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>

#include <optional>
#include <string>
#include <vector>

#include "arena.h"
#include "data_files.h"
#include "failure.h"
#include "mapped_file.h"

namespace runner {

class TrainingProgram {
 public:
  // Loads `method` of the program file, whose constants may lie in the data files. Throws Failure of stage `load`.
  TrainingProgram(const std::string& path, const std::vector<std::string>& data, const std::string& method);
  ~TrainingProgram();
  TrainingProgram(const TrainingProgram&) = delete;
  TrainingProgram& operator=(const TrainingProgram&) = delete;

  size_t bytes() const { return file_.bytes(); }
  executorch::runtime::MethodMeta meta() const { return method_->method_meta(); }

  // Throws Failure of stage `input`.
  void set_input(size_t index, const executorch::aten::Tensor& tensor);
  // Throws Failure of stage `execute`.
  void execute();
  // Gives back the pages of the files that were touched, among them rows of the embedding that no later batch may ask
  // for: the system maps 64 KiB around each row. Those still needed are mapped again when they are touched.
  void drop_touched_pages() const {
    for (const MappedFile* file : files_) file->drop_resident_pages();
  }
  const executorch::runtime::EValue& output(size_t index) const { return method_->get_output(index); }

  struct NamedBuffer {
    std::string name;
    executorch::aten::Tensor tensor;
  };
  // The mutable buffers that the exporter gave names to.
  std::vector<NamedBuffer> state();

 private:
  MappedFile file_;
  DataFiles data_;
  std::vector<const MappedFile*> files_;  // program and data
  std::optional<executorch::runtime::Program> program_;
  std::vector<Arena> arenas_;  // planned memory: activations and mutable buffers
  std::vector<executorch::runtime::Span<uint8_t>> spans_;
  std::optional<executorch::runtime::HierarchicalAllocator> planned_;
  executorch::extension::MallocMemoryAllocator allocator_;
  std::optional<executorch::runtime::MemoryManager> memory_;
  std::optional<executorch::runtime::Method> method_;
};

}  // namespace runner
