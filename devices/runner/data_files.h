// The data files of a program: constants that it shares with programs of other shapes, in ExecuTorch's FlatTensor
// format (.ptd), mapped as the program is.
#pragma once

#include <executorch/extension/flat_tensor/flat_tensor_data_map.h>
#include <executorch/extension/named_data_map/merged_data_map.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "mapped_file.h"

namespace runner {

class DataFiles {
 public:
  // Maps the files. Throws Failure of stage `load`.
  explicit DataFiles(const std::vector<std::string>& paths);
  DataFiles(const DataFiles&) = delete;
  DataFiles& operator=(const DataFiles&) = delete;

  // Reads the list of constants of each file; needs the runtime. Throws Failure of stage `load`.
  void read_lists();
  // All constants by name, null if there is no file.
  const executorch::runtime::NamedDataMap* map() const { return merged_ ? &*merged_ : nullptr; }
  std::vector<const MappedFile*> files() const;

 private:
  std::vector<std::string> paths_;
  std::deque<MappedFile> files_;  // which stay where they are
  std::deque<executorch::extension::FlatTensorDataMap> lists_;
  std::optional<executorch::extension::merged_data_map::MergedDataMap> merged_;
};

}  // namespace runner
