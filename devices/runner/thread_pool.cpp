#include "thread_pool.h"

#include <executorch/runtime/kernel/thread_parallel_interface.h>

// The wheel's libexecutorch_threadpool.so exports this class, but its headers don't declare it. Only these two
// functions are used, through a pointer, so the class's layout does not matter here.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t new_thread_count);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace runner {

int64_t set_thread_count(uint32_t threads) {
  auto* pool = executorch::extension::threadpool::get_threadpool();
  if (pool == nullptr || !pool->_unsafe_reset_threadpool(threads)) return 0;
  return executorch::extension::get_thread_count();
}

}  // namespace runner
