// Products with a frozen matrix that stays as it is stored, with an adapter's share added if there is one.
#pragma once

#include <cstdint>

#include "panels.h"
#include "simd.h"

namespace prge {

// What an adapter adds to a product: y += inner * b, with inner = x * a^T [rows][rank] and a b [rank][out_features] for
// each slice of the rows. `b` has no values if there is no adapter.
struct LowRankShare {
  const float* inner = nullptr;
  int64_t inner_stride = 0;
  Stored b = {};
  int64_t rank = 0;
  int64_t rows_per_slice = 1;

  // Moves to a copy of inner, `distance` values away, with `rows` rows in a slice.
  void move_to(ptrdiff_t distance, int64_t rows) {
    if (inner != nullptr) inner += distance;
    rows_per_slice = rows;
  }
};

// x[rows][0, depth) * decoded(weight)[first_out + ..][first_in + ..]^T, a result of `columns` columns. If `accumulate`,
// it is added to what is already there.
struct FrozenProduct {
  FrozenMatrix weight;
  int64_t first_out;
  int64_t columns;
  int64_t first_in;
  int64_t depth;
  const float* x;
  int64_t x_stride;
  bool accumulate = false;
  LowRankShare share = {};
  // If set, the same with decoded(weight)[first_in ..][first_out ..], not transposed: `first_in` counts its rows,
  // `first_out` its columns.
  bool back = false;
};

// A part of the result that one task computes.
struct Tile {
  int64_t row, rows, column, columns;
};

// How a product is cut into tasks: enough of them for all threads, each with enough rows that decoding costs little.
struct TilePlan {
  int64_t row_tiles, rows_per_tile, column_tiles, columns_per_tile;

  int64_t tasks() const { return row_tiles * column_tiles; }
  Tile tile(int64_t task, int64_t rows, int64_t columns) const;
  // The same tiles for another number of columns.
  TilePlan for_columns(int64_t columns) const;
};
TilePlan plan_tiles(const SimdLoops& loops, int64_t rows, int64_t columns, int64_t widest_tile);

constexpr int64_t kWidestTile = 64;  // columns of a tile: x is read once for that many
constexpr int64_t kNarrowTile = 32;  // columns if there would be too few wider tiles
// Rows of a tile: a multiple of every variant's row group, to which they are rounded up.
constexpr int64_t kMostRows = 1032;
constexpr int64_t kTileDepth = 1024;  // values of a row decoded at a time: a tile of 256 KiB stays in the L2 cache
constexpr int64_t kTileBuffer = kWidestTile * kTileDepth;

// Computes one tile on the calling thread. `y` points to its first value, rows of the result are `y_stride` values
// apart; `buffer` has room for a tile's columns times kTileDepth values.
void multiply_tile(const SimdLoops& loops, const FrozenProduct& product, const Tile& tile, float* y, int64_t y_stride,
                   float* buffer);

// Computes `rows` rows of the result, `y_stride` values apart, on all threads of the pool. Each thread decodes one tile
// of the weight at a time into a buffer of its own (at most 256 KiB). False if that buffer can't be allocated.
bool multiply_all(const SimdLoops& loops, const FrozenProduct& product, int64_t rows, float* y, int64_t y_stride);

// y[rows][out_features] = x[rows][in_features] * decoded(weight)^T, likewise.
bool linear_frozen(const SimdLoops& loops, const float* x, int64_t rows, const FrozenMatrix& weight, float* y);

// y[rows][in_features] = x[rows][out_features] * decoded(weight), likewise.
bool linear_frozen_back(const SimdLoops& loops, const float* x, int64_t rows, const FrozenMatrix& weight, float* y);

}  // namespace prge
