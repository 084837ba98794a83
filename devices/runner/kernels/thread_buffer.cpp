#include "thread_buffer.h"

#include <atomic>
#include <cstdlib>
#include <memory>

#include "parallel.h"

namespace prge {
namespace {

struct Freed {
  void operator()(float* memory) const { std::free(memory); }
};

struct Buffer {
  std::unique_ptr<float, Freed> memory;
  int64_t floats = 0;
};

constexpr int64_t kLine = 64 / sizeof(float);

}  // namespace

float* thread_buffer(int64_t floats) {
  thread_local Buffer buffer;
  if (buffer.floats < floats) {
    buffer.memory.reset();
    const int64_t rounded = (floats + kLine - 1) / kLine * kLine;
    buffer.memory.reset(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>(rounded) * sizeof(float))));
    buffer.floats = buffer.memory ? rounded : 0;
  }
  return buffer.memory.get();
}

bool for_each_buffered_task(int64_t count, int64_t floats,
                            executorch::runtime::FunctionRef<void(int64_t, float*)> task) {
  std::atomic<bool> complete{true};
  for_each_task(count, [&](int64_t i) {
    float* buffer = thread_buffer(floats);
    if (buffer == nullptr) {
      complete = false;
    } else {
      task(i, buffer);
    }
  });
  return complete;
}

}  // namespace prge
