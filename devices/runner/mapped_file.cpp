#include "mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "failure.h"

namespace runner {
namespace {

using executorch::runtime::Error;
using executorch::runtime::FreeableBuffer;
using executorch::runtime::Result;

// Gives back the pages that lie entirely within the buffer; its neighbours may still be in use.
void release(void* /*context*/, void* data, size_t size) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(data) + size) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace

MappedFile::MappedFile(const std::string& path, const char* what) {
  try {
    file_.emplace(File::open_to_read(path));
    size_ = file_->size();
    if (size_ == 0) throw FileError(path + ": the file is empty.");
    void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file_->fd(), 0);
    if (mapped == MAP_FAILED) throw FileError(path + ": " + std::strerror(errno) + ".");
    base_ = static_cast<char*>(mapped);
  } catch (const FileError& error) {
    throw Failure(Stage::load, std::string("The ") + what + " can't be read: " + error.what());
  }
}

MappedFile::~MappedFile() { ::munmap(base_, size_); }

Result<FreeableBuffer> MappedFile::load(size_t offset, size_t size, const SegmentInfo&) const {
  if (offset > size_ || size > size_ - offset) {
    ET_LOG(Error, "the file has %zu bytes, but %zu at offset %zu are needed: it is truncated", size_, size, offset);
    return Error::InvalidProgram;
  }
  return FreeableBuffer(base_ + offset, size, release);
}

Error MappedFile::load_into(size_t offset, size_t size, const SegmentInfo& segment, void* buffer) const {
  Result<FreeableBuffer> part = load(offset, size, segment);
  if (!part.ok()) return part.error();
  std::memcpy(buffer, base_ + offset, size);
  return Error::Ok;
}

void MappedFile::drop_resident_pages() const { ::madvise(base_, size_, MADV_DONTNEED); }

bool MappedFile::copy(const void* from, size_t bytes, void* to) const {
  const auto* part = static_cast<const char*>(from);
  if (part < base_ || part >= base_ + size_ || bytes > static_cast<size_t>(base_ + size_ - part)) return false;
  return ::pread(file_->fd(), to, bytes, part - base_) == static_cast<ssize_t>(bytes);
}

}  // namespace runner
