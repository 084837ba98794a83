// The names that every variant of the hot loops exports. The build sets PRGE_VARIANT to the variant's namespace and
// PRGE_VECTOR_BYTES, PRGE_ROW_GROUP and PRGE_PANEL_VECTORS to the shape that fills its registers.
#pragma once

#include "simd.h"

#define PRGE_DECLARE_VARIANT(name_)                                                                             \
  namespace name_ {                                                                                             \
  extern const int64_t panel_width;                                                                             \
  extern const int64_t row_group;                                                                               \
  void normals(const prge::NoiseStream& stream, uint32_t first_block, size_t blocks, float* out);               \
  void signs(const prge::NoiseStream& stream, uint32_t first_block, size_t blocks, float* out);                 \
  void uniforms(const prge::NoiseStream& stream, uint32_t first_block, size_t blocks, float* out);            \
  void add_normals(const prge::NoiseStream& stream, uint32_t first_block, uint32_t column_blocks,               \
                   size_t blocks, float scale, float* panel);                                                   \
  void move_single(const float* noise, const float* shares, float rate, int64_t count, uint32_t* weights);      \
  void move_half(const float* noise, const float* shares, float rate, int64_t count, uint16_t* weights);        \
  void decode(const prge::FrozenMatrix& weight, int64_t row, int64_t rows, int64_t first, int64_t count,        \
              float* panel);                                                                                    \
  void decode_pairs(const prge::FrozenMatrix& weight, int64_t row, int64_t rows, int64_t first, int64_t count,  \
                    float* panel);                                                                              \
  void multiply(int64_t rows, int64_t words, const float* x, int64_t x_stride, const float* panel, float* y,    \
                int64_t y_stride, int64_t columns, bool accumulate);                                            \
  void normalize(const float* x, const float* weight, float epsilon, int64_t count, float* out);                \
  void swiglu(float* gate, const float* up, int64_t count);                                                     \
  void geglu(float* gate, const float* up, int64_t count);                                                      \
  void softmax(float* scores, const float* bias, int64_t count);                                                \
  float sum_exponentials(const float* x, float shift, int64_t count);                                           \
  void rotate(const float* x, const float* cos, const float* sin, int64_t count, float* out);                   \
  void round_bfloat16(const float* values, int64_t count, float* out);                                          \
  }

// The functions of a variant's loops for pairs of bfloat16 that differ from its own.
#define PRGE_DECLARE_PAIRS(name_)                                                                               \
  namespace name_ {                                                                                             \
  void multiply(int64_t rows, int64_t words, const float* x, int64_t x_stride, const float* panel, float* y,    \
                int64_t y_stride, int64_t columns, bool accumulate);                                            \
  void round_bfloat16(const float* values, int64_t count, float* out);                                          \
  }
