#include "linear_nf4.h"

#include <executorch/runtime/kernel/thread_parallel_interface.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>

#include "parallel.h"

namespace prge {
namespace {

constexpr int64_t kTileColumns = 64;    // columns of y per task: x is read once for that many
constexpr int64_t kTileDepth = 1024;    // values of a row decoded at a time: a tile of 256 KiB stays in the L2 cache
constexpr int64_t kTasksPerThread = 8;  // enough that the last one to finish doesn't matter
constexpr int64_t kMinimumRows = 256;   // of x per task: decoding once for these costs a few percent

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Plan {
  int64_t column_tiles;
  int64_t row_tiles;
  int64_t rows_per_tile;
  int64_t depth;  // values decoded at a time, a multiple of 8
};

Plan plan_tiles(const SimdLoops& loops, int64_t rows, const Nf4Matrix& weight) {
  const int64_t wanted = kTasksPerThread * executorch::extension::get_thread_count();
  const int64_t column_tiles = divide_up(weight.out_features, kTileColumns);
  const int64_t splits =
      std::clamp<int64_t>(divide_up(wanted, column_tiles), 1, std::max<int64_t>(1, rows / kMinimumRows));
  const int64_t rows_per_tile = divide_up(divide_up(rows, splits), loops.row_group) * loops.row_group;
  const int64_t passes = divide_up(weight.in_features, kTileDepth);
  return {column_tiles, divide_up(rows, rows_per_tile), rows_per_tile,
          divide_up(divide_up(weight.in_features, passes), 8) * 8};
}

struct Freed {
  void operator()(float* memory) const { std::free(memory); }
};

float* tile_buffer() {
  thread_local std::unique_ptr<float, Freed> buffer(
      static_cast<float*>(std::aligned_alloc(64, kTileColumns * kTileDepth * sizeof(float))));
  return buffer.get();
}

struct Tile {
  int64_t row, rows, column, columns;
};

void multiply_tile(const SimdLoops& loops, const Plan& plan, const Tile& tile, const float* x, const Nf4Matrix& w,
                   float* y, float* buffer) {
  for (int64_t k = 0; k < w.in_features; k += plan.depth) {
    const int64_t count = std::min(plan.depth, w.in_features - k);
    for (int64_t c = 0; c < tile.columns; c += loops.panel_width) {
      loops.decode(w.packed, w.absmax, w.out_features, w.in_features, tile.column + c, k, count, buffer + c * count);
    }
    for (int64_t r = 0; r < tile.rows; r += loops.row_group) {
      const int64_t group = std::min(loops.row_group, tile.rows - r);
      for (int64_t c = 0; c < tile.columns; c += loops.panel_width) {
        loops.multiply(group, count, x + (tile.row + r) * w.in_features + k, w.in_features, buffer + c * count,
                       y + (tile.row + r) * w.out_features + tile.column + c, w.out_features,
                       std::min(loops.panel_width, tile.columns - c), k > 0);
      }
    }
  }
}

}  // namespace

bool linear_nf4(const SimdLoops& loops, const float* x, int64_t rows, const Nf4Matrix& weight, float* y) {
  if (rows == 0 || weight.out_features == 0) return true;
  const Plan plan = plan_tiles(loops, rows, weight);
  std::atomic<bool> complete{true};
  for_each_task(plan.column_tiles * plan.row_tiles, [&](int64_t task) {
    float* buffer = tile_buffer();
    if (buffer == nullptr) {
      complete = false;
      return;
    }
    const int64_t row = task % plan.row_tiles * plan.rows_per_tile;
    const int64_t column = task / plan.row_tiles * kTileColumns;
    const Tile tile{row, std::min(plan.rows_per_tile, rows - row), column,
                    std::min(kTileColumns, weight.out_features - column)};
    multiply_tile(loops, plan, tile, x, weight, y, buffer);
  });
  return complete;
}

}  // namespace prge
