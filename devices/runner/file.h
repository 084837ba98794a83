// Files: reading them whole or in parts, and replacing them atomically.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace runner {

// A file could not be read or written: its path and why.
class FileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// An open file descriptor, closed with the object.
class File {
 public:
  static File open_to_read(const std::string& path);
  File(File&& other) noexcept : fd_(other.fd_), path_(std::move(other.path_)) { other.fd_ = -1; }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  File& operator=(File&&) = delete;
  ~File();

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  uint64_t size() const;
  // Exactly `size` bytes at `offset`, or FileError.
  void read_at(uint64_t offset, void* to, size_t size) const;

 private:
  friend class ReplacedFile;
  File(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  int fd_;
  std::string path_;
};

// The whole file. Throws FileError if it has more than `limit` bytes.
std::string read_file(const std::string& path, size_t limit);

// A new version of a file that appears under its name only when it is complete and on disk.
class ReplacedFile {
 public:
  explicit ReplacedFile(const std::string& path);
  ~ReplacedFile();
  void write(const void* from, size_t size);
  void commit();

 private:
  std::string path_;
  File file_;
  bool committed_ = false;
};

// write(2) until all is written; false with errno set when it can't be.
bool write_all(int fd, const void* from, size_t size);

}  // namespace runner
