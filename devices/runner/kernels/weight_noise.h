// Weights that are trained themselves: their noise is drawn when a tile of them is decoded, and an update changes them
// in place (docs/contracts.md, "Noise of weights"). The number of a matrix, its slot, takes the place of the query.
#pragma once

#include <cstdint>

#include "frozen_matrix.h"
#include "simd.h"

namespace prge {

// What is added to each value of a matrix: scale * noise(slot, its position in the matrix, row by row).
struct WeightNoise {
  NoiseStream stream;
  float scale;
};

// Adds the noise of rows [row, row + rows) of a matrix, columns [first, first + count), to the panel [count][panel
// width] that they were decoded into. What it adds to columns from `rows` on is meaningless.
void add_noise(const SimdLoops& loops, const FrozenMatrix& weight, int64_t row, int64_t rows, int64_t first,
               int64_t count, float* panel);

// Adds the noise of the table's rows that `rows` lists to their decoded values in `out`.
void add_noise_of_rows(const SimdLoops& loops, const FrozenMatrix& table, const int64_t* rows, int64_t count,
                       float* out);

// weight -= rate * noise, on all threads of the pool, for float32 and float16. The exact result lies between two values
// of the weight's type and is rounded to one of them at random, to the nearer one more often: the mean is exact, and
// updates that are small compared with a weight are not lost.
void move_weight(const SimdLoops& loops, Form form, void* weight, int64_t count, const int64_t key[2], int64_t slot,
                 float rate);

}  // namespace prge
