// A program or a data file as ExecuTorch reads it: one read-only mapping of the whole file.
//
// Pages of a mapping count as this process's memory once they have been touched. Those that a delegate only reads to
// pack them are given back when it frees them; constants that kernels use in place stay mapped.
#pragma once

#include <executorch/runtime/core/data_loader.h>

#include <optional>
#include <string>

#include "file.h"

namespace runner {

class MappedFile final : public executorch::runtime::DataLoader {
 public:
  // `what` kind of file it is, for messages. Throws Failure of stage `load`.
  MappedFile(const std::string& path, const char* what);
  ~MappedFile() override;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  executorch::runtime::Result<executorch::runtime::FreeableBuffer> load(size_t offset, size_t size,
                                                                        const SegmentInfo& segment) const override;
  executorch::runtime::Error load_into(size_t offset, size_t size, const SegmentInfo& segment,
                                       void* buffer) const override;
  executorch::runtime::Result<size_t> size() const override { return size_; }

  size_t bytes() const { return size_; }

  // Gives all touched pages back to the system; they are mapped again from the page cache when they are needed.
  void drop_resident_pages() const;
  // Copies a part of the mapped file by reading the file itself, so that no page of the mapping is touched. False for
  // other memory, or if the file can't be read.
  bool copy(const void* from, size_t bytes, void* to) const;

 private:
  std::optional<File> file_;
  char* base_ = nullptr;
  size_t size_ = 0;
};

}  // namespace runner
