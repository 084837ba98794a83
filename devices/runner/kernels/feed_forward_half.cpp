// The feed-forward: one block of its wide features is computed, gated and projected back before the next one.
#include <algorithm>

#include "layer_parts.h"
#include "parallel.h"
#include "part_times.h"
#include "thread_buffer.h"

namespace prge {
namespace {

// Wide features [first, first + count).
struct Block {
  int64_t first, count;
};

// Floats of a thread's buffer: a narrow tile of the weights, up, and gate unless that can be computed in place.
int64_t gate_buffer(const SimdLoops& loops) {
  return kNarrowTile * loops.words(kTileDepth) + loops.word_values * kMostRows * kNarrowTile;
}

// wide[rows][kBlockFeatures] = activation(gate) * up of a block, its words at the start of each row; meanwhile `output`
// is packed for it.
bool gate(const SimdLoops& loops, const DecoderLayer& layer, const float* normal, const InnerProducts& input,
          const InnerProducts& output, const Block& block, float* wide) {
  const LayerShape& shape = layer.shape;
  const TilePlan plan = plan_tiles(loops, shape.rows, block.count, kNarrowTile);
  const auto product = [&](Projection projection) {
    return FrozenProduct{layer.projections[projection].weight, block.first, block.count, 0, shape.hidden, normal,
                      shape.hidden, false, input.share(projection)};
  };
  const FrozenProduct gated = product(kGate), up = product(kUp);
  const int64_t tasks = plan.tasks() + output.pack_tasks();
  return for_each_buffered_task(tasks, gate_buffer(loops), [&](int64_t task, float* buffer) {
    if (task >= plan.tasks()) {
      output.pack(task - plan.tasks(), block.first, block.count);
      return;
    }
    const Tile tile = plan.tile(task, shape.rows, block.count);
    float* words = wide + tile.row * kBlockFeatures + loops.words(tile.column);
    float* up_tile = buffer + kNarrowTile * loops.words(kTileDepth);
    const bool in_place = loops.word_values == 1;
    float* gate_tile = in_place ? words : up_tile + kMostRows * kNarrowTile;
    const int64_t stride = in_place ? kBlockFeatures : kNarrowTile;
    multiply_tile(loops, gated, tile, gate_tile, stride, buffer);
    multiply_tile(loops, up, tile, up_tile, kNarrowTile, buffer);
    const PartTimer timer(Work::gate);
    for (int64_t row = 0; row < tile.rows; ++row) {
      layer.apply_gate(loops, gate_tile + row * stride, up_tile + row * kNarrowTile, tile.columns);
      layer.round(loops, gate_tile + row * stride, tile.columns, words + row * kBlockFeatures);
    }
  });
}

// Adds a block's contribution to the layer's result.
bool project_out(const SimdLoops& loops, const DecoderLayer& layer, const float* wide, const LowRankShare& share,
                 const Block& block, float* out) {
  const LayerShape& shape = layer.shape;
  const FrozenProduct product{layer.projections[kDown].weight, 0, shape.hidden, block.first, block.count, wide,
                           kBlockFeatures, true, share};
  return multiply_all(loops, product, shape.rows, out, shape.hidden);
}

}  // namespace

bool feed_forward_half(const SimdLoops& loops, const DecoderLayer& layer, float* scratch, float* out) {
  const LayerShape& shape = layer.shape;
  Scratch memory(scratch);
  float* normal = memory.take(shape.rows * shape.hidden);
  float* wide = memory.take(shape.rows * kBlockFeatures);
  float* inner = memory.take(shape.rows * 4 * shape.rank);
  float* output_panels = memory.take(kBlockFeatures * divide_up(shape.rank, loops.panel_width) * loops.panel_width);
  float* residual = take_residual(shape, memory);
  const InnerProducts input(loops, layer, {kGate, kUp}, memory.take(0), inner, 4 * shape.rank);
  const InnerProducts output(loops, layer, {kDown}, output_panels, inner + 3 * shape.rank, 4 * shape.rank);

  enter_half(loops, layer, {out, layer.feed_forward_norm, out, normal, residual}, input);
  for (int64_t first = 0; first < shape.intermediate; first += kBlockFeatures) {
    const Block block{first, std::min(kBlockFeatures, shape.intermediate - first)};
    const bool last = first + block.count == shape.intermediate;
    if (!gate(loops, layer, normal, input, output, block, wide)) return false;
    for_each_task(divide_up(shape.rows, kRowsPerTask), [&](int64_t task) {
      const int64_t row = task * kRowsPerTask, count = std::min(kRowsPerTask, shape.rows - row);
      output.multiply(wide, kBlockFeatures, row, count, block.count, first > 0);
      if (last) output.round(row, count);
    });
    const LowRankShare share = last ? output.share(kDown) : LowRankShare{};
    if (!project_out(loops, layer, wide, share, block, out)) return false;
  }
  leave_half(loops, layer, kFeedForwardResult, residual, out);
  return true;
}

}  // namespace prge
