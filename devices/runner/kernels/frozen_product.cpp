#include "frozen_product.h"

#include <executorch/runtime/kernel/thread_parallel_interface.h>

#include <algorithm>

#include "part_times.h"
#include "thread_buffer.h"
#include "weight_noise.h"

namespace prge {
namespace {

constexpr int64_t kTasksPerThread = 8;  // enough that the last one to finish doesn't matter
constexpr int64_t kFewestRows = 256;    // of a tile: decoding once for this many costs a few percent

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Decodes rows [row, row + count) of a frozen matrix, columns [first, first + columns), into panel[count][panel width]:
// at most as many columns as the panel is wide; its other columns become zero.
void decode_columns(const SimdLoops& loops, const FrozenMatrix& weight, int64_t row, int64_t count, int64_t first,
                    int64_t columns, float* panel) {
  const int64_t width = loops.panel_width, taken = std::min(columns, width);
  if (weight.form == Form::float32) {
    const float* values = static_cast<const float*>(weight.values) + row * weight.in_features + first;
    return pack_columns(loops, {values, false}, weight.in_features, count, columns, panel);
  }
  float block[kWidestPanel * kWidestPanel];
  for (int64_t k = 0; k < count; k += width) {
    const int64_t rows = std::min(width, count - k);
    loops.decode(weight, row + k, rows, first, taken, block);
    for (int64_t i = 0; i < rows; ++i) {
      float* to = panel + (k + i) * width;
      for (int64_t j = 0; j < taken; ++j) to[j] = block[j * width + i];
      std::fill(to + taken, to + width, 0.0f);
    }
  }
}

// Decodes a tile's columns into panels, values [k, k + count) of the depth.
void decode_tile(const SimdLoops& loops, const FrozenProduct& product, const Tile& tile, int64_t k, int64_t count,
                 float* buffer) {
  const PartTimer timer(Work::decode, product.weight.projection);
  for (int64_t c = 0; c < tile.columns; c += loops.panel_width) {
    const int64_t column = product.first_out + tile.column + c;
    if (product.back) {
      decode_columns(loops, product.weight, product.first_in + k, count, column, tile.columns - c, buffer + c * count);
      continue;
    }
    float* panel = buffer + c * loops.words(count);
    loops.decode(product.weight, column, tile.columns - c, product.first_in + k, count, panel);
    if (product.weight.noise != nullptr) {
      add_noise(loops, product.weight, column, tile.columns - c, product.first_in + k, count, panel);
    }
  }
}

void multiply_frozen(const SimdLoops& loops, const FrozenProduct& product, const Tile& tile, float* y,
                     int64_t y_stride, float* buffer) {
  const int64_t passes = divide_up(product.depth, kTileDepth);
  const int64_t step = divide_up(divide_up(product.depth, passes), 8) * 8;  // decoding takes eight at a time
  const float* x = product.x + tile.row * product.x_stride;
  for (int64_t k = 0; k < product.depth; k += step) {
    const int64_t count = std::min(step, product.depth - k);
    decode_tile(loops, product, tile, k, count, buffer);
    const PartTimer timer(Work::product, product.weight.projection);
    const int64_t words = loops.words(count);
    multiply_panels(loops, {x + loops.words(k), product.x_stride, tile.rows, words}, buffer, words,
                    {y, y_stride, tile.columns, product.accumulate || k > 0});
  }
}

// Adds the adapter's share slice by slice, since each slice has its own b.
void add_share(const SimdLoops& loops, const FrozenProduct& product, const Tile& tile, float* y, int64_t y_stride,
               float* buffer) {
  const PartTimer timer(Work::low_rank, product.weight.projection);
  const LowRankShare& share = product.share;
  for (int64_t row = tile.row; row < tile.row + tile.rows;) {
    const int64_t slice = row / share.rows_per_slice;
    const int64_t end = std::min(tile.row + tile.rows, (slice + 1) * share.rows_per_slice);
    const Stored b =
        share.b.from(slice * share.rank * product.weight.out_features + product.first_out + tile.column);
    for (int64_t k = 0; k < share.rank; k += kTileDepth) {
      const int64_t count = std::min(kTileDepth, share.rank - k), words = loops.words(count);
      const float* inner = share.inner + row * share.inner_stride + loops.words(k);
      for (int64_t c = 0; c < tile.columns; c += loops.panel_width) {
        pack_columns(loops, b.from(k * product.weight.out_features + c), product.weight.out_features, count,
                     tile.columns - c, buffer + c * words);
      }
      multiply_panels(loops, {inner, share.inner_stride, end - row, words}, buffer, words,
                      {y + (row - tile.row) * y_stride, y_stride, tile.columns, true});
    }
    row = end;
  }
}

}  // namespace

Tile TilePlan::tile(int64_t task, int64_t rows, int64_t columns) const {
  const int64_t row = task % row_tiles * rows_per_tile;
  const int64_t column = task / row_tiles * columns_per_tile;
  return {row, std::min(rows_per_tile, rows - row), column, std::min(columns_per_tile, columns - column)};
}

TilePlan plan_tiles(const SimdLoops& loops, int64_t rows, int64_t columns, int64_t widest_tile) {
  const int64_t wanted = kTasksPerThread * executorch::extension::get_thread_count();
  const int64_t width = divide_up(columns, widest_tile) < wanted ? kNarrowTile : widest_tile;
  const int64_t column_tiles = divide_up(columns, width);
  const int64_t fewest = divide_up(rows, kMostRows);
  const int64_t splits = std::clamp(divide_up(wanted, column_tiles), fewest, std::max(fewest, rows / kFewestRows));
  const int64_t rows_per_tile = divide_up(divide_up(rows, splits), loops.row_group) * loops.row_group;
  return {divide_up(rows, rows_per_tile), rows_per_tile, column_tiles, width};
}

TilePlan TilePlan::for_columns(int64_t columns) const {
  return {row_tiles, rows_per_tile, divide_up(columns, columns_per_tile), columns_per_tile};
}

void multiply_tile(const SimdLoops& loops, const FrozenProduct& product, const Tile& tile, float* y, int64_t y_stride,
                   float* buffer) {
  multiply_frozen(loops, product, tile, y, y_stride, buffer);
  if (product.share.b.values != nullptr) add_share(loops, product, tile, y, y_stride, buffer);
}

bool multiply_all(const SimdLoops& loops, const FrozenProduct& product, int64_t rows, float* y, int64_t y_stride) {
  if (rows == 0 || product.columns == 0) return true;
  const TilePlan plan = plan_tiles(loops, rows, product.columns, kWidestTile);
  return for_each_buffered_task(plan.tasks(), kTileBuffer, [&](int64_t task, float* buffer) {
    const Tile tile = plan.tile(task, rows, product.columns);
    multiply_tile(loops, product, tile, y + tile.row * y_stride + tile.column, y_stride, buffer);
  });
}

bool linear_frozen(const SimdLoops& loops, const float* x, int64_t rows, const FrozenMatrix& weight, float* y) {
  const int64_t in = weight.in_features, out = weight.out_features;
  return multiply_all(loops, {weight, 0, out, 0, in, x, in}, rows, y, out);
}

bool linear_frozen_back(const SimdLoops& loops, const float* x, int64_t rows, const FrozenMatrix& weight, float* y) {
  const int64_t in = weight.in_features, out = weight.out_features;
  return multiply_all(loops, {weight, 0, in, 0, out, x, out, false, {}, true}, rows, y, in);
}

}  // namespace prge
