// Weights that are trained themselves: their noise is drawn where a tile of them is decoded, and an update writes them in
// place (docs/contracts.md, "Noise of weights"). The number of a matrix, its slot, stands for the query.
#pragma once

#include <cstdint>

#include "frozen_matrix.h"
#include "simd.h"

namespace prge {

// What is added to each value of a matrix: scale * noise(slot, its place in the matrix, row by row).
struct WeightNoise {
  NoiseStream stream;
  float scale;
};

// Adds the noise of rows [row, row + rows) of a matrix, columns [first, first + count), to the panel [count][panel width]
// that they were decoded into. What it adds to columns from `rows` on means nothing.
void add_noise(const SimdLoops& loops, const FrozenMatrix& weight, int64_t row, int64_t rows, int64_t first,
               int64_t count, float* panel);

// Adds the noise of whole rows of a table, of those that `rows` names, to what they were decoded into.
void add_noise_of_rows(const SimdLoops& loops, const FrozenMatrix& table, const int64_t* rows, int64_t count,
                       float* out);

// weight - rate * noise in place, on all threads of the pool, for float32 and float16. The exact result lies between two
// values of the weight's type, and becomes one of them at random, the nearer one more often, so that its mean is exact
// and updates that are small beside a weight are not lost.
void move_weight(const SimdLoops& loops, Form form, void* weight, int64_t count, const int64_t key[2], int64_t slot,
                 float rate);

}  // namespace prge
