#include "inputs.h"

#include <cstring>

#include "failure.h"

namespace runner {
namespace {

using executorch::runtime::MethodMeta;
using executorch::runtime::Tag;

[[noreturn]] void refuse(const std::string& reason) { throw Failure(Stage::input, reason); }

void check_against_program(const InputSpec& spec, size_t index, const MethodMeta& meta) {
  const auto tag = meta.input_tag(index);
  const auto info = meta.input_tensor_meta(index);
  const std::string name = "Input " + std::to_string(index) + " (" + spec.name + ")";
  if (!tag.ok() || tag.get() != Tag::Tensor || !info.ok()) refuse(name + " is not a tensor in the program.");
  const auto sizes = info->sizes();
  bool same = spec.dtype->scalar_type == info->scalar_type() && spec.shape.size() == sizes.size();
  for (size_t i = 0; same && i < sizes.size(); ++i) same = spec.shape[i] == sizes[i];
  if (!same) {
    refuse(name + " is " + described(spec.dtype, spec.shape) + " in the job, the program takes " +
           described(dtype_of(info->scalar_type()), sizes) + ".");
  }
}

File open_batches(const InputSpec& spec, const FileBatches& source) {
  try {
    File file = File::open_to_read(source.path);
    const double needed = static_cast<double>(source.offset_bytes) +
                          static_cast<double>(source.batches) * static_cast<double>(spec.bytes());
    if (static_cast<double>(file.size()) < needed) {
      refuse(source.path + " has " + std::to_string(file.size()) + " bytes, input " + spec.name + " needs " +
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
    refuse("The job has " + std::to_string(specs.size()) + " inputs, the program takes " +
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
    for (size_t i = spec.shape.size(); i-- > 1;) slot.strides[i - 1] = slot.strides[i] * spec.shape[i];
    if (const auto* batches = std::get_if<FileBatches>(&spec.source)) slot.file.emplace(open_batches(spec, *batches));
    if (const auto* constant = std::get_if<Constant>(&spec.source)) slot.bytes = constant->bytes;
    slot.tensor.emplace(spec.dtype->scalar_type, static_cast<ssize_t>(spec.shape.size()), slot.sizes.data(),
                        slot.bytes.data(), slot.dim_order.data(), slot.strides.data());
  }
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
}

void Inputs::apply(TrainingProgram& program) {
  for (size_t index = 0; index < slots_.size(); ++index) {
    program.set_input(index, executorch::aten::Tensor(&*slots_[index].tensor));
  }
}

}  // namespace runner
