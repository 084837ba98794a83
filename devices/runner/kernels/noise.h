// Perturbations of a flat adapter: pure functions of (seed, step, query, position), see docs/contracts.md, "Noise".
#pragma once

#include <cstdint>

#include "simd.h"

namespace prge {

// The stream of one query of one step. `key` holds the seed and the step index.
NoiseStream noise_stream(const int64_t key[2], int64_t query);

enum class Distribution : int64_t { normal, rademacher, uniform };  // the last between 0 and 1

// Writes the noise for the positions [first, first + count).
void fill_noise(const SimdLoops& loops, Distribution distribution, const NoiseStream& stream, int64_t first,
                int64_t count, float* out);

constexpr int64_t kUnperturbed = -1;  // the number of a query whose noise is zero

// Which signs `perturb` writes: + for all queries and then - for all queries, or only one of the two.
enum class Signs : int64_t { both = 0, plus = 1, minus = -1 };

struct Perturbation {
  const float* adapter;  // the whole flat adapter
  int64_t first;         // the slice that is perturbed
  int64_t count;
  int64_t key[2];
  float epsilon;
  int64_t first_query;
  int64_t queries;
  Signs signs;
  Distribution distribution = Distribution::normal;
};

// Writes adapter +/- epsilon * noise, [signs][queries][count], on all threads of the pool; first_query may be
// kUnperturbed. `Value` is float, or executorch's Half or BFloat16, to which the sum is rounded.
template <typename Value>
void perturb(const Perturbation& perturbation, Value* out);

// out[p] = adapter[p] - rate * mean over queries i of gradient[i] * noise(key, i, p), for p < count, on all threads of
// the pool. `out` may be `adapter`.
void update(const float* adapter, const float* gradient, int64_t queries, const int64_t key[2], float rate,
            int64_t count, float* out, Distribution distribution = Distribution::normal);

}  // namespace prge
