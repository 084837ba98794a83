#include "allocations.h"

#include <cerrno>
#include <cstddef>
#include <cstdlib>

#include <atomic>

#if defined(__has_feature)
#define RUNNER_HAS_FEATURE(name) __has_feature(name)
#else
#define RUNNER_HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || RUNNER_HAS_FEATURE(address_sanitizer) || \
    RUNNER_HAS_FEATURE(thread_sanitizer) || RUNNER_HAS_FEATURE(memory_sanitizer)
#define RUNNER_WHY_NO_ALLOCATIONS "a sanitizer replaces the allocator of this build"
#elif !defined(__GLIBC__)
#define RUNNER_WHY_NO_ALLOCATIONS "only glibc lets a program replace its allocator and call it"
#endif

namespace runner {

#ifdef RUNNER_WHY_NO_ALLOCATIONS

const char* why_no_allocations() { return RUNNER_WHY_NO_ALLOCATIONS; }
void begin_counting_allocations() {}
Allocations end_counting_allocations() { return {0, 0}; }
void leave_out_this_thread() {}

#else

namespace {

std::atomic<bool> counting{false};
std::atomic<int64_t> counted{0};
std::atomic<int64_t> counted_bytes{0};
thread_local bool left_out = false;

// Called from every thread, even before this program is initialized: no locks, nothing that allocates.
void count_allocation(size_t bytes) {
  if (!counting.load(std::memory_order_relaxed) || left_out) return;
  counted.fetch_add(1, std::memory_order_relaxed);
  counted_bytes.fetch_add(static_cast<int64_t>(bytes), std::memory_order_relaxed);
}

}  // namespace

const char* why_no_allocations() { return nullptr; }

void begin_counting_allocations() {
  counted = 0;
  counted_bytes = 0;
  counting = true;
}

Allocations end_counting_allocations() {
  counting = false;
  return {counted, counted_bytes};
}

void leave_out_this_thread() { left_out = true; }

#endif

}  // namespace runner

#ifndef RUNNER_WHY_NO_ALLOCATIONS

// A program's own malloc comes before the C library's for all libraries that it is linked with, and for `operator new`.
// The memory still comes from glibc, so its `free`, `mallinfo2` and `malloc_trim` need no counterpart here.
extern "C" {

void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

void* malloc(size_t size) noexcept {
  runner::count_allocation(size);
  return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) noexcept {
  runner::count_allocation(count * size);
  return __libc_calloc(count, size);
}

void* realloc(void* old, size_t size) noexcept {
  runner::count_allocation(size);
  return __libc_realloc(old, size);
}

void* memalign(size_t alignment, size_t size) noexcept {
  runner::count_allocation(size);
  return __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) noexcept { return memalign(alignment, size); }

int posix_memalign(void** result, size_t alignment, size_t size) noexcept {
  if (alignment % sizeof(void*) != 0 || alignment == 0 || (alignment & (alignment - 1)) != 0) return EINVAL;
  const int before = errno;
  void* const memory = memalign(alignment, size);
  errno = before;
  if (memory == nullptr) return ENOMEM;
  *result = memory;
  return 0;
}

}  // extern "C"

#endif
