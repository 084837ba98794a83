// A training step as a loaded method, with its memory and its named state, and the same step for shorter rows.
#pragma once

#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>

#include <deque>
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
  // Loads `method` of the program and of the `shorter` ones; their constants may be in the data files. They share
  // planned memory, and the weights that a delegate packs. With `tracer`, which outlives this, the program is loaded a
  // second time, as a twin that reports to it. Throws Failure of stage `load`.
  TrainingProgram(const std::string& path, const std::vector<std::string>& data, const std::string& method,
                  const std::vector<std::string>& shorter = {},
                  executorch::runtime::EventTracer* tracer = nullptr);
  ~TrainingProgram();
  TrainingProgram(const TrainingProgram&) = delete;
  TrainingProgram& operator=(const TrainingProgram&) = delete;

  size_t bytes() const;
  // The number of programs, the main one first; its traced twin does not count.
  size_t count() const { return programs_.size() - (tracer_ == nullptr ? 0 : 1); }
  executorch::runtime::MethodMeta meta(size_t which = 0) const { return programs_[which].method->method_meta(); }

  // From now on this program runs, with the state moved over to it. Throws Failure of stage `state` if its state
  // differs.
  void use(size_t which);
  // From now on the main program runs, or its twin that reports to the tracer. Both have the same step and state.
  void trace(bool on) { use(on ? programs_.size() - 1 : 0); }
  // Throws Failure of stage `input`.
  void set_input(size_t index, const executorch::aten::Tensor& tensor);
  // Throws Failure of stage `execute`.
  void execute();
  // Gives back the touched pages of the files, among them rows of the embedding that no later batch may need: the
  // system maps 64 KiB around each row. Those still needed are mapped again when they are touched.
  void drop_touched_pages() const {
    for (const MappedFile* file : files_) file->drop_resident_pages();
  }
  const executorch::runtime::EValue& output(size_t index) const { return current_->method->get_output(index); }

  struct NamedBuffer {
    std::string name;
    executorch::aten::Tensor tensor;
  };
  // The mutable buffers that the exporter named.
  std::vector<NamedBuffer> state();

 private:
  struct Loaded {
    explicit Loaded(const std::string& path) : path(path), file(path, "program") {}

    std::string path;
    MappedFile file;
    std::optional<executorch::runtime::Program> program;
    std::vector<executorch::runtime::Span<uint8_t>> spans;
    std::optional<executorch::runtime::HierarchicalAllocator> planned;
    executorch::extension::MallocMemoryAllocator allocator;
    std::optional<executorch::runtime::MemoryManager> memory;
    std::optional<executorch::runtime::Method> method;
  };
  void load(Loaded& loaded, const std::string& method, executorch::runtime::EventTracer* tracer);

  executorch::runtime::EventTracer* tracer_;
  DataFiles data_;
  std::vector<const MappedFile*> files_;  // programs and data
  // Planned memory: activations and mutable buffers. Only one program runs at a time, so all use the same memory.
  std::vector<Arena> arenas_;
  std::deque<Loaded> programs_;  // a deque: they never move, and end before the constants and memory that they use
  Loaded* current_;
};

}  // namespace runner
