#include "training_program.h"

#include <executorch/runtime/backend/backend_options_map.h>
#include <executorch/runtime/platform/runtime.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "kernels/step_parts.h"
#include "page_trimmer.h"
#include "runtime_failure.h"
#include "runtime_log.h"

namespace runner {
namespace {

using executorch::aten::Tensor;
using executorch::runtime::BackendOptions;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::LoadBackendOptionsMap;
using executorch::runtime::MethodMeta;
using executorch::runtime::Program;
using executorch::runtime::Result;
using executorch::runtime::Span;

void check(Stage stage, const std::string& what, Error error) {
  if (error != Error::Ok) fail(stage, what, error);
}

std::string named(const std::string& method, const std::string& path) {
  return "The method " + method + " of " + path + " can't be loaded";
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

struct Move {
  const uint8_t* from;
  uint8_t* to;
  size_t bytes;
  std::vector<uint8_t> aside = {};

  bool overwrites(const Move& other) const { return to < other.from + other.bytes && other.from < to + bytes; }
};

// Moves values within the memory that two programs share, where the place of one may be the source of another: each
// moves once its place is free. In a circle the smallest is set aside first, since the values may be all weights of a
// model.
void carry_out(std::vector<Move> moves) {
  const auto stays = [](const Move& each) { return each.from == each.to; };
  moves.erase(std::remove_if(moves.begin(), moves.end(), stays), moves.end());
  std::sort(moves.begin(), moves.end(), [](const Move& one, const Move& other) { return one.bytes < other.bytes; });
  while (!moves.empty()) {
    const size_t waiting = moves.size();
    for (size_t i = moves.size(); i-- > 0;) {
      const auto in_the_way = [&](const Move& other) { return &other != &moves[i] && moves[i].overwrites(other); };
      if (std::any_of(moves.begin(), moves.end(), in_the_way)) continue;
      std::memmove(moves[i].to, moves[i].from, moves[i].bytes);
      moves.erase(moves.begin() + static_cast<ptrdiff_t>(i));
    }
    if (moves.size() < waiting) continue;
    const auto aside = std::find_if(moves.begin(), moves.end(), [](const Move& each) { return each.aside.empty(); });
    aside->aside.assign(aside->from, aside->from + aside->bytes);
    aside->from = aside->aside.data();
  }
}

}  // namespace

TrainingProgram::TrainingProgram(const std::string& path, const std::vector<std::string>& data,
                                 const std::string& method, const std::vector<std::string>& shorter,
                                 executorch::runtime::EventTracer* tracer)
    : tracer_(tracer), data_(data), files_(data_.files()) {
  programs_.emplace_back(path);
  for (const std::string& each : shorter) programs_.emplace_back(each);
  if (tracer != nullptr) programs_.emplace_back(path);
  current_ = &programs_.front();
  for (const Loaded& loaded : programs_) files_.push_back(&loaded.file);
  executorch::runtime::runtime_init();
  forget_runtime_messages();
  data_.read_lists();
  std::vector<size_t> sizes;
  for (Loaded& loaded : programs_) {
    const std::string what = "The program " + loaded.path + " can't be loaded";
    loaded.program.emplace(
        taken(Stage::load, what, Program::load(&loaded.file, Program::Verification::InternalConsistency)));
    const std::string which = named(method, loaded.path);
    const MethodMeta meta = taken(Stage::load, which, loaded.program->method_meta(method.c_str()));
    sizes.resize(std::max(sizes.size(), meta.num_memory_planned_buffers()), 0);
    for (size_t i = 0; i < meta.num_memory_planned_buffers(); ++i) {
      sizes[i] = std::max(sizes[i], static_cast<size_t>(taken(Stage::load, which, meta.memory_planned_buffer_size(i))));
    }
  }
  for (const size_t size : sizes) arenas_.emplace_back(size);
  const PageTrimmer trimmer(files_);
  for (Loaded& loaded : programs_) {
    load(loaded, method, &loaded == &programs_.back() ? tracer : nullptr);
    data_.stop_filling();  // the others get the state of the first, in the same memory
  }
  mapped_files = &files_;
  prge::set_unmapped_copy(copy_from_file);
}

void TrainingProgram::load(Loaded& loaded, const std::string& method, executorch::runtime::EventTracer* tracer) {
  for (const Arena& arena : arenas_) loaded.spans.emplace_back(arena.data(), arena.size());
  loaded.planned.emplace(Span<Span<uint8_t>>(loaded.spans.data(), loaded.spans.size()));
  loaded.memory.emplace(&loaded.allocator, &*loaded.planned);
  // A delegate that finds weights packed under their name does not pack them again.
  BackendOptions<1> packed_once;
  LoadBackendOptionsMap options;
  const std::string which = named(method, loaded.path);
  if (programs_.size() > 1) {
    check(Stage::load, which, packed_once.set_option("weight_cache_enabled", true));
    check(Stage::load, which, options.set_options("XnnpackBackend", packed_once.view()));
  }
  loaded.method.emplace(taken(Stage::load, which,
                              loaded.program->load_method(method.c_str(), &*loaded.memory, tracer, data_.map(),
                                                          programs_.size() > 1 ? &options : nullptr)));
}

TrainingProgram::~TrainingProgram() { mapped_files = nullptr; }

size_t TrainingProgram::bytes() const {
  size_t total = 0;
  for (size_t i = 0; i < count(); ++i) total += programs_[i].file.bytes();
  return total;
}

void TrainingProgram::use(size_t which) {
  if (current_ == &programs_[which]) return;
  const std::vector<NamedBuffer> before = state();
  current_ = &programs_[which];
  const std::vector<NamedBuffer> after = state();
  bool same = after.size() == before.size();
  std::vector<Move> moves;
  for (size_t i = 0; same && i < after.size(); ++i) {
    const auto found =
        std::find_if(before.begin(), before.end(), [&](const auto& buffer) { return buffer.name == after[i].name; });
    same = found != before.end() && found->tensor.nbytes() == after[i].tensor.nbytes();
    if (same) {
      moves.push_back({static_cast<const uint8_t*>(found->tensor.const_data_ptr()),
                       static_cast<uint8_t*>(after[i].tensor.mutable_data_ptr()), found->tensor.nbytes()});
    }
  }
  if (!same) {
    throw Failure(Stage::state,
                  "The program " + current_->path + " has a different state from " + programs_.front().path + ".");
  }
  carry_out(std::move(moves));
}

void TrainingProgram::set_input(size_t index, const Tensor& tensor) {
  const Error error = current_->method->set_input(EValue(tensor), index);
  if (error != Error::Ok) fail(Stage::input, "Input " + std::to_string(index) + " was refused", error);
}

void TrainingProgram::execute() {
  const Error error = current_->method->execute();
  if (error != Error::Ok) fail(Stage::execute, "The step failed", error);
}

std::vector<TrainingProgram::NamedBuffer> TrainingProgram::state() {
  std::vector<NamedBuffer> buffers;
  const MethodMeta meta = current_->method->method_meta();
  for (size_t i = 0; i < meta.num_attributes(); ++i) {
    const auto info = taken(Stage::state, "The program's state can't be listed", meta.attribute_tensor_meta(i));
    const std::string name(info.name());
    const Tensor tensor =
        taken(Stage::state, "The buffer " + name + " can't be read", current_->method->get_attribute(name));
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
