#include "parallel.h"

#include <executorch/runtime/kernel/thread_parallel_interface.h>

#include <algorithm>
#include <atomic>

namespace prge {

void for_each_task(int64_t count, executorch::runtime::FunctionRef<void(int64_t)> task) {
  const int64_t threads = std::min<int64_t>(count, executorch::extension::get_thread_count());
  if (threads <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  std::atomic<int64_t> next{0};
  executorch::extension::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (int64_t i = next++; i < count; i = next++) task(i);
  });
}

}  // namespace prge
