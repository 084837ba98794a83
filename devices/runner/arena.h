// Zeroed memory straight from the system: pages that a program never touches cost nothing, and mutable buffers start
// at zero whatever the exporter left out.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>

namespace runner {

class Arena {
 public:
  explicit Arena(size_t size) : size_(size) {
    if (size_ == 0) return;
    void* mapped = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<uint8_t*>(mapped);
  }
  Arena(Arena&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
    other.size_ = 0;
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  Arena& operator=(Arena&&) = delete;
  ~Arena() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  bool holds(const void* pointer) const {
    const auto* at = static_cast<const uint8_t*>(pointer);
    return at >= data_ && at < data_ + size_;
  }

 private:
  uint8_t* data_ = nullptr;
  size_t size_;
};

}  // namespace runner
