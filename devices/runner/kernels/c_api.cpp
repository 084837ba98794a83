// The kernels behind a plain C interface, so that tests can call them without a program. Built with RUNNER_TESTING.
#include "../thread_pool.h"
#include "linear_nf4.h"
#include "noise.h"

extern "C" {

const char* prge_variant_name(uint64_t index) {
  const prge::SimdLoops* loops = prge::simd_variant(index);
  return loops == nullptr ? nullptr : loops->name;
}

int64_t prge_set_threads(uint32_t threads) { return runner::set_thread_count(threads); }

void prge_normals(uint64_t variant, const int64_t* key, int64_t query, int64_t first, int64_t count, float* out) {
  prge::fill_normals(*prge::simd_variant(variant), prge::noise_stream(key, query), first, count, out);
}

void prge_perturb(const float* adapter, int64_t first, int64_t count, const int64_t* key, float epsilon,
                  int64_t first_query, int64_t queries, int64_t signs, float* out) {
  prge::perturb({adapter, first, count, {key[0], key[1]}, epsilon, first_query, queries, prge::Signs(signs)}, out);
}

void prge_update(const float* adapter, const float* gradient, int64_t queries, const int64_t* key, float rate,
                 int64_t count, float* out) {
  prge::update(adapter, gradient, queries, key, rate, count, out);
}

bool prge_linear_nf4(uint64_t variant, const float* x, int64_t rows, const uint8_t* packed, const float* absmax,
                     int64_t out_features, int64_t in_features, float* y) {
  return prge::linear_nf4(*prge::simd_variant(variant), x, rows, {packed, absmax, out_features, in_features}, y);
}
}
