// What a step does around the decoder layers: tokens in, losses out (docs/contracts.md, "Operators of our own").
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd.h"

namespace prge {

// out[slices][tokens][in_features] = the tokens' rows; all tokens must be rows of the table. `alone`: nothing else
// reads the table. False if there is no memory for a row.
bool embed(const FrozenMatrix& table, const int64_t* tokens, int64_t count, int64_t slices, bool alone, float* out);

// Copies a part of the program that nothing else reads, without mapping it: the system maps up to 2 MiB around what is
// touched. False if it can't; then the part is read in place.
using UnmappedCopy = bool (*)(const void* from, size_t bytes, void* to);
void set_unmapped_copy(UnmappedCopy copy);

// out[slices][rows][length][length]: 0 where a position sees another, else the value of a mask.
void attention_bias(const int64_t* first, int64_t rows, int64_t length, int64_t slices, float* out);

// out = -log softmax(logits[r])[label], summed over every `answers` consecutive rows. Row r has label r % label_count;
// a label of -1 means none.
void answer_losses(const SimdLoops& loops, const float* logits, int64_t rows, int64_t vocabulary,
                   const int64_t* labels, int64_t label_count, int64_t answers, float* out);

}  // namespace prge
