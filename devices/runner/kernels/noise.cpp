#include "noise.h"

#include <executorch/runtime/core/exec_aten/exec_aten.h>

#include <algorithm>
#include <cstring>

#include "parallel.h"

namespace prge {
namespace {

constexpr int64_t kChunk = 4096;  // positions per task; a multiple of 4, and 16 KiB of noise fits any first-level cache

}  // namespace

NoiseStream noise_stream(const int64_t key[2], int64_t query) {
  const auto low = [](int64_t word) { return static_cast<uint32_t>(static_cast<uint64_t>(word)); };
  const auto high = [](int64_t word) { return static_cast<uint32_t>(static_cast<uint64_t>(word) >> 32); };
  return {{low(key[0]), high(key[0])}, low(query), {low(key[1]), high(key[1])}};
}

void fill_noise(const SimdLoops& loops, Distribution distribution, const NoiseStream& stream, int64_t first,
                int64_t count, float* out) {
  const bool signs = distribution == Distribution::rademacher;
  const NoiseLoop fill = signs ? loops.signs : distribution == Distribution::normal ? loops.normals : loops.uniforms;
  const int64_t values = signs ? 128 : 4;  // of a block
  alignas(64) float block[128];
  const int64_t lead = first % values;
  if (lead != 0 && count > 0) {
    fill(stream, static_cast<uint32_t>(first / values), 1, block);
    const int64_t taken = std::min(values - lead, count);
    std::memcpy(out, block + lead, static_cast<size_t>(taken) * sizeof(float));
    first += taken;
    count -= taken;
    out += taken;
  }
  fill(stream, static_cast<uint32_t>(first / values), static_cast<size_t>(count / values), out);
  if (count % values != 0) {
    fill(stream, static_cast<uint32_t>((first + count) / values), 1, block);
    std::memcpy(out + count / values * values, block, static_cast<size_t>(count % values) * sizeof(float));
  }
}

template <typename Value>
void perturb(const Perturbation& p, Value* out) {
  const SimdLoops& loops = simd_loops();
  const int64_t chunks = (p.count + kChunk - 1) / kChunk;
  for_each_task(chunks * p.queries, [&](int64_t task) {
    const int64_t query = task / chunks;
    const int64_t begin = task % chunks * kChunk;
    const int64_t size = std::min(kChunk, p.count - begin);
    alignas(64) float noise[kChunk];
    if (p.first_query + query == kUnperturbed) {
      std::fill_n(noise, size, 0.0f);
    } else {
      fill_noise(loops, p.distribution, noise_stream(p.key, p.first_query + query), p.first + begin, size, noise);
    }
    const float* from = p.adapter + p.first + begin;
    Value* to = out + query * p.count + begin;
    if (p.signs != Signs::minus) {
      for (int64_t i = 0; i < size; ++i) to[i] = static_cast<Value>(from[i] + p.epsilon * noise[i]);
      to += p.queries * p.count;
    }
    if (p.signs != Signs::plus) {
      for (int64_t i = 0; i < size; ++i) to[i] = static_cast<Value>(from[i] - p.epsilon * noise[i]);
    }
  });
}

template void perturb(const Perturbation& perturbation, float* out);
template void perturb(const Perturbation& perturbation, executorch::aten::Half* out);
template void perturb(const Perturbation& perturbation, executorch::aten::BFloat16* out);

void update(const float* adapter, const float* gradient, int64_t queries, const int64_t key[2], float rate,
            int64_t count, float* out, Distribution distribution) {
  const SimdLoops& loops = simd_loops();
  for_each_task((count + kChunk - 1) / kChunk, [&](int64_t task) {
    const int64_t begin = task * kChunk;
    const int64_t size = std::min(kChunk, count - begin);
    alignas(64) float noise[kChunk];
    alignas(64) float sum[kChunk] = {};
    for (int64_t query = 0; query < queries; ++query) {
      fill_noise(loops, distribution, noise_stream(key, query), begin, size, noise);
      for (int64_t i = 0; i < size; ++i) sum[i] += gradient[query] * noise[i];
    }
    const float divisor = static_cast<float>(queries);
    for (int64_t i = 0; i < size; ++i) out[begin + i] = adapter[begin + i] - rate * (sum[i] / divisor);
  });
}

}  // namespace prge
