#include "training_program.h"

#include <executorch/runtime/platform/runtime.h>

#include <atomic>

#include "kernels/step_parts.h"
#include "page_trimmer.h"
#include "runtime_failure.h"
#include "runtime_log.h"

namespace runner {
namespace {

using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::HierarchicalAllocator;
using executorch::runtime::MethodMeta;
using executorch::runtime::Program;
using executorch::runtime::Result;
using executorch::runtime::Span;

void check(Stage stage, const std::string& what, Error error) {
  if (error != Error::Ok) fail(stage, what, error);
}

std::atomic<const std::vector<const MappedFile*>*> mapped_files{nullptr};

bool copy_from_file(const void* from, size_t bytes, void* to) {
  const std::vector<const MappedFile*>* files = mapped_files;
  if (files == nullptr) return false;
  for (const MappedFile* file : *files) {
    if (file->copy(from, bytes, to)) return true;
  }
  return false;
}

}  // namespace

TrainingProgram::TrainingProgram(const std::string& path, const std::vector<std::string>& data,
                                 const std::string& method)
    : file_(path, "program"), data_(data), files_(data_.files()) {
  files_.push_back(&file_);
  executorch::runtime::runtime_init();
  forget_runtime_messages();
  data_.read_lists();
  const std::string what = "The program " + path + " can't be loaded";
  program_.emplace(taken(Stage::load, what, Program::load(&file_, Program::Verification::InternalConsistency)));
  const std::string which = "The method " + method + " of " + path + " can't be loaded";
  const MethodMeta meta = taken(Stage::load, which, program_->method_meta(method.c_str()));
  for (size_t i = 0; i < meta.num_memory_planned_buffers(); ++i) {
    arenas_.emplace_back(static_cast<size_t>(taken(Stage::load, which, meta.memory_planned_buffer_size(i))));
    spans_.emplace_back(arenas_.back().data(), arenas_.back().size());
  }
  planned_.emplace(Span<Span<uint8_t>>(spans_.data(), spans_.size()));
  memory_.emplace(&allocator_, &*planned_);
  const PageTrimmer trimmer(files_);
  method_.emplace(taken(Stage::load, which, program_->load_method(method.c_str(), &*memory_, nullptr, data_.map())));
  mapped_files = &files_;
  prge::set_unmapped_copy(copy_from_file);
}

TrainingProgram::~TrainingProgram() { mapped_files = nullptr; }

void TrainingProgram::set_input(size_t index, const Tensor& tensor) {
  check(Stage::input, "Input " + std::to_string(index) + " was refused", method_->set_input(EValue(tensor), index));
}

void TrainingProgram::execute() {
  const Error error = method_->execute();
  if (error != Error::Ok) fail(Stage::execute, "The step failed", error);
}

std::vector<TrainingProgram::NamedBuffer> TrainingProgram::state() {
  std::vector<NamedBuffer> buffers;
  const MethodMeta meta = method_->method_meta();
  for (size_t i = 0; i < meta.num_attributes(); ++i) {
    const auto info = taken(Stage::state, "The program's state can't be listed", meta.attribute_tensor_meta(i));
    const std::string name(info.name());
    const Tensor tensor = taken(Stage::state, "The buffer " + name + " can't be read", method_->get_attribute(name));
    // Constants from data files have names too, but lie outside of planned memory.
    for (const Arena& arena : arenas_) {
      if (arena.holds(tensor.const_data_ptr())) {
        buffers.push_back({std::string(NamedStarts::name_of(name)), tensor});
      }
    }
  }
  return buffers;
}

}  // namespace runner
