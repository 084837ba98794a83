#include "data_files.h"

#include "runtime_failure.h"

namespace runner {

using executorch::extension::FlatTensorDataMap;
using executorch::extension::merged_data_map::MergedDataMap;
using executorch::runtime::NamedDataMap;
using executorch::runtime::Span;

DataFiles::DataFiles(const std::vector<std::string>& paths) : paths_(paths) {
  try {
    for (const std::string& path : paths_) files_.emplace_back(path, "data file");
  } catch (const Failure& failure) {
    throw Failure(Stage::load, std::string(failure.what()) + " Deploy the program again, with its data files.");
  }
}

void DataFiles::read_lists() {
  std::vector<const NamedDataMap*> maps;
  for (size_t i = 0; i < files_.size(); ++i) {
    const std::string what = "The data file " + paths_[i] + " can't be loaded";
    lists_.push_back(taken(Stage::load, what, FlatTensorDataMap::load(&files_[i])));
    maps.push_back(&lists_.back());
  }
  if (maps.empty()) return;
  const Span<const NamedDataMap*> all(maps.data(), maps.size());
  merged_.emplace(taken(Stage::load, "The data files can't be loaded together", MergedDataMap::load(all)));
  starts_.emplace(&*merged_);
}

std::vector<const MappedFile*> DataFiles::files() const {
  std::vector<const MappedFile*> files;
  for (const MappedFile& file : files_) files.push_back(&file);
  return files;
}

}  // namespace runner
