// The hot loops of the kernels, compiled once per instruction set and chosen at run time.
//
// Every variant is the same source in translation units of its own (noise_loops.cpp, weight_loops.cpp and
// decode_loops.cpp without fused multiply-add, product_loops.cpp and activation_loops.cpp with it), so that nothing
// compiled for a newer instruction set is linked into code that an older processor runs.
//
// Operands of products are stored in words of 32 bits: a float32 each or, for loops that multiply pairs, two
// consecutive bfloat16 of a row, the first in the low half. An odd count is padded with a zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "frozen_matrix.h"

namespace prge {

// The part of a Philox counter and key that stays the same over one call (docs/contracts.md, "Noise").
struct NoiseStream {
  uint32_t key[2];  // seed, low and high word
  uint32_t query;
  uint32_t step[2];  // low and high word
};

// Writes the noise of whole Philox blocks, from `first_block` on: 4 standard normals each, or 128 signs, +1 or -1, or 4
// numbers between 0 and 1. The bits are the same in every variant.
using NoiseLoop = void (*)(const NoiseStream& stream, uint32_t first_block, size_t blocks, float* out);

// Adds scale * normals to a panel [4 * blocks][panel width], four rows for each block: column j gets those of `blocks`
// blocks from first_block + j * column_blocks on.
using PanelNoiseLoop = void (*)(const NoiseStream& stream, uint32_t first_block, uint32_t column_blocks, size_t blocks,
                                float scale, float* panel);

// weights -= rate * noise, for weights of float32 or float16, as their bits. The exact result is rounded up in
// magnitude if `shares` is less than how far it lies from the value below, as a fraction of the distance between the
// two values around it.
using MoveSingleLoop = void (*)(const float* noise, const float* shares, float rate, int64_t count, uint32_t* weights);
using MoveHalfLoop = void (*)(const float* noise, const float* shares, float rate, int64_t count, uint16_t* weights);

// Decodes rows [row, row + rows) of a frozen matrix, columns [first, first + count), into panel[count][panel width]. It
// takes at most as many rows as the panel is wide; other columns of the panel become zero. For pairs: only bfloat16,
// into panel[words of count][panel width].
using DecodeLoop = void (*)(const FrozenMatrix& weight, int64_t row, int64_t rows, int64_t first, int64_t count,
                            float* panel);

// y[m][0, columns) = x[m][0, words) * panel, or += if `accumulate`, for m < rows. Strides count words. Loops that
// multiply pairs treat subnormal operands and sums as zero.
using MultiplyLoop = void (*)(int64_t rows, int64_t words, const float* x, int64_t x_stride, const float* panel,
                              float* y, int64_t y_stride, int64_t columns, bool accumulate);

// out = x * weight / sqrt(mean(x^2) + epsilon) for one row; `out` may be `x`.
using NormalizeLoop = void (*)(const float* x, const float* weight, float epsilon, int64_t count, float* out);

// gate = gate * sigmoid(gate) * up.
using SwigluLoop = void (*)(float* gate, const float* up, int64_t count);

// The same with x * sigmoid(2 u), which is GELU as approximated with tanh(u), where u = sqrt(2 / pi) (x + 0.044715 x^3)
// and thus 2 u = x (kGeluLinear + kGeluCubic x^2).
using GegluLoop = SwigluLoop;
constexpr float kGeluLinear = 1.59576912f;   // 2 sqrt(2 / pi)
constexpr float kGeluCubic = 0.0713548128f;  // that times 0.044715

// scores = softmax(scores + bias) for one row.
using SoftmaxLoop = void (*)(float* scores, const float* bias, int64_t count);

// The sum of e^(x - shift), where no x is above `shift`.
using SumExponentialsLoop = float (*)(const float* x, float shift, int64_t count);

// out = x * cos + half turn of x * sin, where the half turn swaps the halves; its sign is part of `sin`. `count` is
// even; `out` is not `x`.
using RotateLoop = void (*)(const float* x, const float* cos, const float* sin, int64_t count, float* out);

// Rounds to the nearest bfloat16, ties to even, into the words of `out`, which may be `values`. For pairs subnormal
// values may become zero.
using RoundLoop = void (*)(const float* values, int64_t count, float* out);

struct SimdLoops {
  const char* name;
  NoiseLoop normals;
  NoiseLoop signs;
  NoiseLoop uniforms;
  PanelNoiseLoop add_normals;
  MoveSingleLoop move_single;
  MoveHalfLoop move_half;
  int64_t panel_width;  // columns of y that `multiply` computes at a time, at most kWidestPanel
  int64_t row_group;    // rows of x it takes at a time
  DecodeLoop decode;
  MultiplyLoop multiply;
  NormalizeLoop normalize;
  SwigluLoop swiglu;
  GegluLoop geglu;
  SoftmaxLoop softmax;
  SumExponentialsLoop sum_exponentials;
  RotateLoop rotate;
  RoundLoop round_bfloat16;
  // The same loops with operands in pairs of bfloat16; null where the processor can't multiply these.
  const SimdLoops* of_pairs = nullptr;
  int64_t word_values = 1;  // values in a word of an operand

  int64_t words(int64_t values) const { return (values + word_values - 1) / word_values; }
};

constexpr int64_t kWidestPanel = 32;

// The variant that kernels use: the widest this processor can run, unless another was chosen.
const SimdLoops& simd_loops();

// Chooses the variant of that name; false if this processor can run none of that name. To be called before any kernel
// runs.
bool choose_simd_loops(const std::string& name);

// Every variant this processor can run, widest first; nullptr past the last.
const SimdLoops* simd_variant(size_t index);

}  // namespace prge
