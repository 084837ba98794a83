#include "half_product.h"

#include <algorithm>

#include "nf4_product.h"
#include "panels.h"
#include "thread_buffer.h"

namespace prge {

bool linear_half(const SimdLoops& loops, const float* x, int64_t rows, const uint16_t* weight, int64_t out_features,
                 int64_t in_features, float* y) {
  if (rows == 0 || out_features == 0) return true;
  const TilePlan plan = plan_tiles(loops, rows, out_features, kWidestTile);
  return for_each_buffered_task(plan.tasks(), kTileBuffer, [&](int64_t task, float* buffer) {
    const Tile tile = plan.tile(task, rows, out_features);
    const uint16_t* first = weight + tile.column * in_features;
    float* to = y + tile.row * out_features + tile.column;
    for (int64_t k = 0; k < in_features; k += kTileDepth) {
      const int64_t count = std::min(kTileDepth, in_features - k);
      for (int64_t c = 0; c < tile.columns; c += loops.panel_width) {
        loops.decode_half(first + c * in_features, tile.columns - c, in_features, k, count, buffer + c * count);
      }
      multiply_panels(loops, {x + tile.row * in_features + k, in_features, tile.rows, count}, buffer, count,
                      {to, out_features, tile.columns, k > 0});
    }
  });
}

}  // namespace prge
