#include "peaks.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <new>
#include <utility>

#include "clock.h"
#include "kernel_times.h"
#include "kernels/parallel.h"
#include "peak_loops.h"
#include "runtime_log.h"
#include "signals.h"
#include "thread_pool.h"

namespace runner {
namespace {

constexpr size_t kFewestRepetitions = 3, kMostRepetitions = 30;
constexpr int64_t kRepetitionNs = 8'000'000;     // short, so that some fall between other work of the machine
constexpr int64_t kMeasurementNs = 250'000'000;  // after this, only the fewest repetitions are completed

constexpr int64_t kPieceValues = 1 << 16;
constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kAssumedCacheBytes = 16 * kMiB, kAssumedThreadCacheBytes = kMiB / 2;
constexpr int64_t kTimesCache = 4;  // an array is so many times as large as the cache, as STREAM requires
constexpr int64_t kLargestArrayBytes = 512 * kMiB;
constexpr int64_t kArrays = 3;
constexpr int64_t kChecked = 61;  // one of so many values is checked

// The times that the repetitions return. A signal to stop takes effect after the current repetition.
std::vector<int64_t> repeat(const std::function<int64_t()>& work) {
  std::vector<int64_t> times;
  const int64_t t0_ns = now_ns();
  while (stop_signal() == nullptr && times.size() < kMostRepetitions &&
         (times.size() < kFewestRepetitions || now_ns() - t0_ns < kMeasurementNs)) {
    times.push_back(std::max<int64_t>(1, work()));
  }
  return times;
}

// The calling thread's number; threads are numbered from 0 in the order of their first calls.
size_t thread_number() {
  static std::atomic<size_t> next{0};
  thread_local const size_t number = next++;
  return number;
}

struct alignas(64) Share {
  int64_t pieces = 0;
  int64_t ns = 0;
};

// Does the pieces and returns how long they take side by side, from the threads' own processor time: work that depends
// only on its core is that fast, whatever else the machine does meanwhile.
template <typename Piece>
int64_t core_ns(int64_t pieces, int64_t threads, const Piece& piece) {
  std::vector<Share> shares(static_cast<size_t>(threads));
  prge::for_each_task(pieces, [&](int64_t number) {
    Share& own = shares[thread_number() % shares.size()];
    const int64_t since_ns = thread_ns();
    piece(number);
    own.ns += thread_ns() - since_ns;
    ++own.pieces;
  });
  double pieces_per_ns = 0.0;
  for (const Share& share : shares) {
    if (share.pieces > 0) pieces_per_ns += static_cast<double>(share.pieces) / static_cast<double>(share.ns + 1);
  }
  return static_cast<int64_t>(static_cast<double>(pieces) / pieces_per_ns);
}

Peak measure(const ComputeLoop& loop, int64_t threads) {
  const int64_t t0_ns = thread_ns();
  loop.run(loop.rounds);
  const int64_t piece_ns = std::max<int64_t>(1, thread_ns() - t0_ns);
  const int64_t pieces = threads * std::clamp<int64_t>(kRepetitionNs / piece_ns, 1, 1 << 20);
  std::atomic<int64_t> made{0};
  const std::vector<int64_t> times =
      repeat([&] { return core_ns(pieces, threads, [&](int64_t) { made += loop.run(loop.rounds); }); });
  const auto repetitions = static_cast<int64_t>(std::max<size_t>(1, times.size()));
  const int64_t operations = 2 * pieces * loop.rounds * loop.products_per_round;
  return {loop.dtype, loop.instructions, "operations", operations, 2 * made / repetitions, -1, times};
}

// The number at the start of a small kernel file, scaled by its unit, K or M; -1 if there is none.
int64_t number_in(const std::string& path) {
  std::ifstream file(path);
  int64_t number = -1;
  char unit = ' ';
  if (!(file >> number) || number < 0 || number > (1 << 30)) return -1;
  file >> unit;
  return unit == 'K' ? number << 10 : unit == 'M' ? number << 20 : number;
}

// The bytes available without swapping; -1 if the kernel does not report them.
int64_t available_bytes() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("MemAvailable:", 0) == 0) return std::strtoll(line.c_str() + 13, nullptr, 10) << 10;
  }
  return -1;
}

struct Caches {
  int64_t thread_bytes = kAssumedThreadCacheBytes;  // of the second level
  int64_t last_bytes = kAssumedCacheBytes;
};

Caches caches() {
  Caches found;
  int64_t largest = -1;
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const int64_t bytes = number_in(folder + "size");
    if (number_in(folder + "level") == 2 && bytes > 0) found.thread_bytes = bytes;
    largest = std::max(largest, bytes);
  }
  if (largest > 0) found.last_bytes = largest;
  found.thread_bytes = std::clamp<int64_t>(found.thread_bytes / 2, 96 << 10, kMiB);
  return found;
}

// Three arrays of values, `from`, `and_from` and `to`; a copy or a triad leaves a known value in `to`.
class Arrays {
 public:
  explicit Arrays(int64_t values) : values_(values), memory_(new (std::align_val_t{64}) float[kArrays * values]) {}

  int64_t values() const { return values_; }
  int64_t bytes() const { return 4 * kArrays * values_; }
  float* from(int64_t at) const { return memory_.get() + at; }
  float* and_from(int64_t at) const { return memory_.get() + values_ + at; }
  float* to(int64_t at) const { return memory_.get() + 2 * values_ + at; }

  // Each piece is touched first by the thread that takes it, as in the passes.
  void fill(int64_t pieces) {
    const int64_t count = values_ / pieces;
    prge::for_each_task(pieces, [&](int64_t piece) {
      std::fill_n(from(piece * count), count, 1.0f);
      std::fill_n(and_from(piece * count), count, 1.0f);
      std::fill_n(to(piece * count), count, 0.0f);
    });
  }

  // The fraction of `to` that has the value, from a sample.
  double share_with(float value) const {
    int64_t seen = 0, right = 0;
    for (int64_t at = 0; at < values_; at += kChecked, ++seen) right += *to(at) == value ? 1 : 0;
    return static_cast<double>(right) / static_cast<double>(std::max<int64_t>(1, seen));
  }

 private:
  struct Free {
    void operator()(float* memory) const { ::operator delete[](memory, std::align_val_t{64}); }
  };
  int64_t values_;
  std::unique_ptr<float[], Free> memory_;
};

// Passes over arrays in pieces; the thread that takes a piece goes over it `passes_` times. With `own_threads`, each of
// so many threads has one piece, which fits its own cache.
class Bandwidth {
 public:
  Bandwidth(const MemoryLoops& loops, int64_t values, int64_t pieces, int64_t own_threads = 0)
      : loops_(loops), arrays_(values), pieces_(pieces), count_(values / pieces), own_threads_(own_threads) {
    arrays_.fill(pieces);
  }

  // Chooses the number of passes with which a repetition takes about this long.
  void take_passes_for(int64_t ns) {
    constexpr int64_t kTried = 16;
    passes_ = kTried;
    const std::vector<int64_t> times = read().ns;
    if (!times.empty()) passes_ = std::clamp<int64_t>(kTried * ns / times.back(), 1, 1 << 20);
  }

  Peak read() {
    std::atomic<int64_t> sum{0};
    const std::vector<int64_t> times = repeat([&] {
      return each([&](int64_t at) { sum += static_cast<int64_t>(loops_.read(arrays_.from(at), count_)); });
    });
    const auto repetitions = static_cast<int64_t>(std::max<size_t>(1, times.size()));
    return {"read", place(), "bytes", bytes(1), 4 * sum / repetitions, arrays_.bytes(), times};
  }

  Peak copy() {
    const std::vector<int64_t> times =
        repeat([&] { return each([&](int64_t at) { loops_.copy(arrays_.from(at), arrays_.to(at), count_); }); });
    return written("copy", 2, 1.0f, times);
  }

  Peak triad() {
    const std::vector<int64_t> times = repeat([&] {
      return each([&](int64_t at) { loops_.triad(arrays_.from(at), arrays_.and_from(at), arrays_.to(at), count_); });
    });
    return written("triad", 3, 1.5f, times);
  }

 private:
  // Returns how long the passes took: by the clock if threads share the memory, else in processor time.
  template <typename Pass>
  int64_t each(const Pass& pass) {
    const auto piece = [&](int64_t number) {
      for (int64_t i = 0; i < passes_; ++i) pass(number * count_);
    };
    if (own_threads_ > 0) return core_ns(pieces_, own_threads_, piece);
    const int64_t t0_ns = now_ns();
    prge::for_each_task(pieces_, piece);
    return now_ns() - t0_ns;
  }

  const char* place() const { return own_threads_ > 0 ? "cache" : "memory"; }

  int64_t bytes(int64_t arrays) const { return 4 * arrays * arrays_.values() * passes_; }

  Peak written(const char* access, int64_t arrays, float value, const std::vector<int64_t>& times) const {
    const auto made = static_cast<int64_t>(static_cast<double>(bytes(arrays)) * arrays_.share_with(value));
    return {access, place(), "bytes", bytes(arrays), made, arrays_.bytes(), times};
  }

  MemoryLoops loops_;
  Arrays arrays_;
  int64_t pieces_, count_, own_threads_;
  int64_t passes_ = 1;
};

// The number of values in an array that no cache holds but memory has room for, in whole pieces.
int64_t values_beyond(int64_t cache_bytes, int64_t available) {
  int64_t bytes = std::clamp(kTimesCache * cache_bytes, 64 * kMiB, kLargestArrayBytes);
  if (available > 0) bytes = std::min(bytes, available / (4 * kArrays));
  return std::max<int64_t>(1, bytes / 4 / kPieceValues) * kPieceValues;
}

// Measures cache or memory with all three kinds of access.
void print_peaks(Events& events, Bandwidth bandwidth) {
  events.peak(bandwidth.read());
  events.peak(bandwidth.copy());
  events.peak(bandwidth.triad());
}

void measure_memory(Events& events, const std::vector<std::string>& features, int64_t threads) {
  const Caches sizes = caches();
  const MemoryLoops loops = memory_loops(features);
  const int64_t each = sizes.thread_bytes / 4 / kArrays / kMemoryBlock * kMemoryBlock;
  Bandwidth cache(loops, threads * each, threads, threads);
  cache.take_passes_for(kRepetitionNs);
  print_peaks(events, std::move(cache));
  const int64_t values = values_beyond(sizes.last_bytes, available_bytes());
  print_peaks(events, Bandwidth(loops, values, values / kPieceValues));
}

void print_all_peaks(Events& events, const std::vector<std::string>& features, int64_t threads) {
  for (const ComputeLoop& loop : compute_loops(features)) events.peak(measure(loop, threads));
  measure_memory(events, features, threads);
}

using Measurement = void (*)(Events& events, const std::vector<std::string>& features, int64_t threads);

Footer carry_out(Measurement measurement, const Job& job, Events& events) {
  const std::vector<int> cpus = pin_to_cpus(job.cpus);
  const int64_t threads = set_thread_count(job.threads);
  const Machine machine = describe_machine();
  events.header(job, machine, threads, cpus);
  if (threads == 0) throw Failure(Stage::load, kNoThreads);
  note_stage(Stage::execute);
  measurement(events, machine.features, threads);
  const char* stopped = stop_signal();
  if (stopped != nullptr) return {"signal", stopped, std::nullopt, std::nullopt, 0};
  return {"completed", "", std::nullopt, std::nullopt, 0};
}

Footer measure_device(Measurement measurement, const std::string& job_path, Events& events) {
  capture_runtime_log();
  try {
    return carry_out(measurement, read_device_job(job_path), events);
  } catch (const Failure& failure) {
    return {"error", failure.what(), failure.code, failure.stage, 0};
  } catch (const std::bad_alloc&) {
    return {"error", "There is not enough memory for the measurement.", std::nullopt, Stage::execute, 0};
  }
}

}  // namespace

Footer measure_peaks(const std::string& job_path, Events& events) {
  return measure_device(print_all_peaks, job_path, events);
}

Footer measure_kernels(const std::string& job_path, Events& events) {
  return measure_device(print_product_times, job_path, events);
}

}  // namespace runner
