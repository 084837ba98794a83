#include "inputs.h"

#include <algorithm>
#include <cstring>

#include "failure.h"

namespace runner {
namespace {

using executorch::aten::ScalarType;
using executorch::runtime::MethodMeta;
using executorch::runtime::Tag;

[[noreturn]] void refuse(const std::string& reason) { throw Failure(Stage::input, reason); }

// Throws unless the program takes `spec`. With `rows`, the program's last size may be smaller. Returns that size.
int32_t check_against_program(const InputSpec& spec, size_t index, const MethodMeta& meta, bool rows = false) {
  const auto tag = meta.input_tag(index);
  const auto info = meta.input_tensor_meta(index);
  const std::string name = "Input " + std::to_string(index) + " (" + spec.name + ")";
  if (!tag.ok() || tag.get() != Tag::Tensor || !info.ok()) refuse(name + " is not a tensor in the program.");
  const auto sizes = info->sizes();
  bool same = spec.dtype->scalar_type == info->scalar_type() && spec.shape.size() == sizes.size();
  for (size_t i = 0; same && i < sizes.size(); ++i) {
    same = spec.shape[i] == sizes[i] || (rows && i + 1 == sizes.size() && spec.shape[i] > sizes[i]);
  }
  if (!same) {
    refuse(name + " is " + described(spec.dtype, spec.shape) + " in the job, but the program takes " +
           described(dtype_of(info->scalar_type()), sizes) + ".");
  }
  return sizes.empty() ? 0 : sizes[sizes.size() - 1];
}

File open_batches(const InputSpec& spec, const FileBatches& source) {
  try {
    File file = File::open_to_read(source.path);
    const double needed = static_cast<double>(source.offset_bytes) +
                          static_cast<double>(source.batches) * static_cast<double>(spec.bytes());
    if (static_cast<double>(file.size()) < needed) {
      refuse(source.path + " has " + std::to_string(file.size()) + " bytes, but input " + spec.name + " needs " +
             std::to_string(static_cast<int64_t>(needed)) + ".");
    }
    return file;
  } catch (const FileError& error) {
    refuse(std::string("The file of input ") + spec.name + " can't be read: " + error.what());
  }
}

}  // namespace

Inputs::Inputs(const std::vector<InputSpec>& specs, const TrainingProgram& program) {
  const MethodMeta meta = program.meta();
  if (specs.size() != meta.num_inputs()) {
    refuse("The job has " + std::to_string(specs.size()) + " inputs, but the program takes " +
           std::to_string(meta.num_inputs()) + ".");
  }
  slots_.reserve(specs.size());  // tensors point into their slots
  for (size_t index = 0; index < specs.size(); ++index) {
    const InputSpec& spec = specs[index];
    check_against_program(spec, index, meta);
    Slot& slot = slots_.emplace_back();
    slot.spec = &spec;
    slot.sizes = spec.shape;
    slot.bytes.resize(spec.bytes());
    slot.strides.assign(spec.shape.size(), 1);
    for (size_t i = 0; i < spec.shape.size(); ++i) slot.dim_order.push_back(static_cast<uint8_t>(i));
    if (const auto* batches = std::get_if<FileBatches>(&spec.source)) slot.file.emplace(open_batches(spec, *batches));
    if (const auto* constant = std::get_if<Constant>(&spec.source)) slot.bytes = constant->bytes;
    slot.shape_tensor();
    if (spec.name == "tokens" && spec.shape.size() == 2) tokens_ = &slot;
    if (spec.name == "first" && spec.shape.size() == 1) first_ = &slot;
  }
  if (program.count() == 1) return;
  if (!is_int64_file(tokens_) || !is_int64_file(first_) || tokens_->spec->shape[0] != first_->spec->shape[0]) {
    refuse("Programs for shorter rows need files for the inputs tokens, int64 [b, T], and first, int64 [b].");
  }
  for (size_t which = 0; which < program.count(); ++which) {
    const MethodMeta other = program.meta(which);
    if (specs.size() != other.num_inputs()) refuse("A program for shorter rows has a different number of inputs.");
    for (size_t index = 0; index < specs.size(); ++index) {
      const int32_t last = check_against_program(specs[index], index, other, &slots_[index] == tokens_);
      if (&slots_[index] == tokens_) lengths_.push_back(last);
    }
  }
}

bool Inputs::is_int64_file(const Slot* slot) {
  return slot != nullptr && slot->spec->dtype->scalar_type == ScalarType::Long &&
         std::holds_alternative<FileBatches>(slot->spec->source);
}

void Inputs::Slot::shape_tensor() {
  for (size_t i = sizes.size(); i-- > 1;) strides[i - 1] = strides[i] * sizes[i];
  tensor.emplace(spec->dtype->scalar_type, static_cast<ssize_t>(sizes.size()), sizes.data(), bytes.data(),
                 dim_order.data(), strides.data());
}

void Inputs::prepare(int64_t index) {
  for (Slot& slot : slots_) {
    if (const auto* key = std::get_if<StepKey>(&slot.spec->source)) {
      const int64_t words[2] = {key->seed, key->first + index};
      std::memcpy(slot.bytes.data(), words, sizeof words);
    } else if (const auto* batches = std::get_if<FileBatches>(&slot.spec->source)) {
      const int64_t batch = index % batches->batches;
      try {
        slot.file->read_at(
            static_cast<uint64_t>(batches->offset_bytes) + static_cast<uint64_t>(batch) * slot.bytes.size(),
            slot.bytes.data(), slot.bytes.size());
      } catch (const FileError& error) {
        refuse(std::string("The file of input ") + slot.spec->name + " can't be read: " + error.what());
      }
    }
  }
  if (lengths_.empty()) return;
  which_ = shortest();
  shorten(lengths_[which_]);
}

// The program with the shortest rows that leave out no real token.
size_t Inputs::shortest() const {
  const auto* first = reinterpret_cast<const int64_t*>(first_->bytes.data());
  const int64_t needed = lengths_[0] - *std::min_element(first, first + first_->sizes[0]);
  size_t found = 0;
  for (size_t which = 1; which < lengths_.size(); ++which) {
    if (lengths_[which] >= needed && lengths_[which] < lengths_[found]) found = which;
  }
  return found;
}

// Keeps the last `length` tokens of each row; all before them is padding.
void Inputs::shorten(int32_t length) {
  const int32_t whole = tokens_->spec->shape[1], rows = tokens_->spec->shape[0];
  auto* tokens = reinterpret_cast<int64_t*>(tokens_->bytes.data());
  auto* first = reinterpret_cast<int64_t*>(first_->bytes.data());
  for (int32_t row = 0; length < whole && row < rows; ++row) {
    std::copy_n(tokens + static_cast<int64_t>(row) * whole + whole - length, length,
                tokens + static_cast<int64_t>(row) * length);
    first[row] -= whole - length;
  }
  tokens_->sizes[1] = length;
  tokens_->shape_tensor();
}

void Inputs::apply(TrainingProgram& program) {
  if (!lengths_.empty()) program.use(which_);
  for (size_t index = 0; index < slots_.size(); ++index) {
    program.set_input(index, executorch::aten::Tensor(&*slots_[index].tensor));
  }
}

}  // namespace runner
