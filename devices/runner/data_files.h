// The data files of a program: constants that it shares with programs of other shapes, in ExecuTorch's FlatTensor
// format (.ptd), mapped as the program is.
#pragma once

#include <executorch/extension/flat_tensor/flat_tensor_data_map.h>
#include <executorch/extension/named_data_map/merged_data_map.h>

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mapped_file.h"

namespace runner {

// The constants of data files by key. A buffer that starts from one is named NAME=KEY, since several may start from the
// same; the key is what follows the last `=`.
class NamedStarts final : public executorch::runtime::NamedDataMap {
 public:
  explicit NamedStarts(const executorch::runtime::NamedDataMap* constants) : constants_(constants) {}

  // From now on, buffers keep the values that are already in their memory.
  void stop_filling() { fills_ = false; }

  // The part of a buffer's name before `=KEY`.
  static std::string_view name_of(std::string_view name) { return name.substr(0, name.rfind('=')); }

  executorch::runtime::Result<const executorch::runtime::TensorLayout> get_tensor_layout(
      std::string_view key) const override {
    return constants_->get_tensor_layout(key_of(key));
  }
  executorch::runtime::Result<executorch::runtime::FreeableBuffer> get_data(std::string_view key) const override {
    return constants_->get_data(key_of(key));
  }
  executorch::runtime::Error load_data_into(std::string_view key, void* buffer, size_t size) const override {
    return fills_ ? constants_->load_data_into(key_of(key), buffer, size) : executorch::runtime::Error::Ok;
  }
  executorch::runtime::Result<uint32_t> get_num_keys() const override { return constants_->get_num_keys(); }
  executorch::runtime::Result<const char*> get_key(uint32_t index) const override { return constants_->get_key(index); }

 private:
  static std::string_view key_of(std::string_view name) { return name.substr(name.rfind('=') + 1); }

  const executorch::runtime::NamedDataMap* constants_;
  bool fills_ = true;
};

class DataFiles {
 public:
  // Maps the files. Throws Failure of stage `load`.
  explicit DataFiles(const std::vector<std::string>& paths);
  DataFiles(const DataFiles&) = delete;
  DataFiles& operator=(const DataFiles&) = delete;

  // Reads each file's list of constants; the runtime must be initialized. Throws Failure of stage `load`.
  void read_lists();
  // All constants by name, null if there are no files.
  const executorch::runtime::NamedDataMap* map() const { return starts_ ? &*starts_ : nullptr; }
  // Buffers of programs loaded from now on are not filled with the constants that they start from.
  void stop_filling() {
    if (starts_) starts_->stop_filling();
  }
  std::vector<const MappedFile*> files() const;

 private:
  std::vector<std::string> paths_;
  std::deque<MappedFile> files_;  // a deque, so that they never move
  std::deque<executorch::extension::FlatTensorDataMap> lists_;
  std::optional<executorch::extension::merged_data_map::MergedDataMap> merged_;
  std::optional<NamedStarts> starts_;
};

}  // namespace runner
