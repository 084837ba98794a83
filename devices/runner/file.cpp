#include "file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace runner {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& why) { throw FileError(path + ": " + why + "."); }

int open_or_fail(const std::string& path, int flags) {
  // Not blocking: a pipe's other end may never be opened.
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0644);
  if (fd < 0) fail(path, std::strerror(errno));
  return fd;
}

}  // namespace

File File::open_to_read(const std::string& path) { return File(open_or_fail(path, O_RDONLY), path); }

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

uint64_t File::size() const {
  struct stat status;
  if (::fstat(fd_, &status) != 0) fail(path_, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail(path_, "not a regular file");
  return static_cast<uint64_t>(status.st_size);
}

void File::read_at(uint64_t offset, void* to, size_t size) const {
  auto* at = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t got = ::pread(fd_, at, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path_, std::strerror(errno));
    if (got == 0)
      fail(path_, "ends at byte " + std::to_string(offset) + ", but " + std::to_string(size) + " more are needed");
    at += got;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<size_t>(got);
  }
}

std::string read_file(const std::string& path, size_t limit) {
  const File file = File::open_to_read(path);
  const uint64_t size = file.size();
  if (size > limit) fail(path, std::to_string(size) + " bytes are more than the " + std::to_string(limit) + " allowed");
  std::string text(size, '\0');
  file.read_at(0, text.data(), text.size());
  return text;
}

ReplacedFile::ReplacedFile(const std::string& path)
    : path_(path), file_(open_or_fail(path + ".tmp", O_WRONLY | O_CREAT | O_TRUNC), path + ".tmp") {
  struct stat there;
  const bool replaceable = ::stat(path.c_str(), &there) != 0 || S_ISREG(there.st_mode);
  if (replaceable) return;
  ::unlink(file_.path().c_str());
  fail(path, "not a regular file, so it is not replaced");  // a device would become a file
}

ReplacedFile::~ReplacedFile() {
  if (!committed_) ::unlink(file_.path().c_str());
}

void ReplacedFile::write(const void* from, size_t size) {
  if (!write_all(file_.fd(), from, size)) fail(path_, std::strerror(errno));
}

void ReplacedFile::commit() {
  if (::fsync(file_.fd()) != 0 || ::rename(file_.path().c_str(), path_.c_str()) != 0) {
    fail(path_, std::strerror(errno));
  }
  committed_ = true;
}

bool write_all(int fd, const void* from, size_t size) {
  const auto* at = static_cast<const char*>(from);
  while (size > 0) {
    const ssize_t written = ::write(fd, at, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    at += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

}  // namespace runner
