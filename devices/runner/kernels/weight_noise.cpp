#include "weight_noise.h"

#include <algorithm>

#include "noise.h"
#include "parallel.h"

namespace prge {
namespace {

constexpr int64_t kChunk = 4096;  // values of a task
constexpr int64_t kPiece = 256;   // values of a row at a time
constexpr int64_t kBlock = 4;     // normals of a Philox block
constexpr int64_t kRounding = int64_t{1} << 31;  // added to a slot: the stream that decides how its updates are rounded

// Adds the noise of a panel's rows [begin, end) value by value, for rows that are not whole blocks.
void add_by_values(const SimdLoops& loops, const FrozenMatrix& weight, int64_t row, int64_t rows, int64_t first,
                   int64_t begin, int64_t end, float* panel) {
  float noise[kPiece];
  for (int64_t j = 0; j < std::min(rows, loops.panel_width); ++j) {
    for (int64_t k = begin; k < end; k += kPiece) {
      const int64_t size = std::min(kPiece, end - k);
      fill_noise(loops, Distribution::normal, weight.noise->stream, (row + j) * weight.in_features + first + k, size,
                 noise);
      for (int64_t i = 0; i < size; ++i) panel[(k + i) * loops.panel_width + j] += weight.noise->scale * noise[i];
    }
  }
}

}  // namespace

void add_noise(const SimdLoops& loops, const FrozenMatrix& weight, int64_t row, int64_t rows, int64_t first,
               int64_t count, float* panel) {
  const bool whole = weight.in_features % kBlock == 0 && first % kBlock == 0;
  const int64_t blocks = whole ? count / kBlock : 0;
  if (blocks > 0) {
    const int64_t begin = (row * weight.in_features + first) / kBlock;
    loops.add_normals(weight.noise->stream, static_cast<uint32_t>(begin),
                      static_cast<uint32_t>(weight.in_features / kBlock), static_cast<size_t>(blocks),
                      weight.noise->scale, panel);
  }
  add_by_values(loops, weight, row, rows, first, blocks * kBlock, count, panel);
}

void add_noise_of_rows(const SimdLoops& loops, const FrozenMatrix& table, const int64_t* rows, int64_t count,
                       float* out) {
  for_each_task(count, [&](int64_t task) {
    float noise[kPiece];
    for (int64_t k = 0; k < table.in_features; k += kPiece) {
      const int64_t size = std::min(kPiece, table.in_features - k);
      fill_noise(loops, Distribution::normal, table.noise->stream, rows[task] * table.in_features + k, size, noise);
      for (int64_t i = 0; i < size; ++i) out[task * table.in_features + k + i] += table.noise->scale * noise[i];
    }
  });
}

void move_weight(const SimdLoops& loops, Form form, void* weight, int64_t count, const int64_t key[2], int64_t slot,
                 float rate) {
  if (rate == 0.0f) return;
  const NoiseStream stream = noise_stream(key, slot), rounding = noise_stream(key, slot + kRounding);
  for_each_task((count + kChunk - 1) / kChunk, [&](int64_t task) {
    const int64_t begin = task * kChunk, size = std::min(kChunk, count - begin);
    alignas(64) float noise[kChunk];
    alignas(64) float shares[kChunk];
    fill_noise(loops, Distribution::normal, stream, begin, size, noise);
    fill_noise(loops, Distribution::uniform, rounding, begin, size, shares);
    if (form == Form::float16) {
      loops.move_half(noise, shares, rate, size, static_cast<uint16_t*>(weight) + begin);
    } else {
      loops.move_single(noise, shares, rate, size, static_cast<uint32_t*>(weight) + begin);
    }
  });
}

}  // namespace prge
