#include "step_parts.h"

#include <executorch/runtime/core/exec_aten/exec_aten.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "nf4.h"
#include "parallel.h"
#include "thread_buffer.h"

namespace prge {
namespace {

constexpr float kMasked = -30000.0f;  // finite, so that a row without any visible key does not become NaN

std::atomic<UnmappedCopy> unmapped_copy{nullptr};

float widened(const executorch::aten::Half* half) { return static_cast<float>(*half); }
float widened(const executorch::aten::BFloat16* value) { return static_cast<float>(*value); }
float widened(const float* value) { return *value; }

template <typename Value>
void widen_row(const void* from, int64_t width, float* out) {
  for (int64_t i = 0; i < width; ++i) out[i] = widened(static_cast<const Value*>(from) + i);
}

void int8_row(const FrozenMatrix& table, int64_t row, const void* codes, float* out) {
  for (int64_t i = 0; i < table.in_features; ++i) {
    out[i] = static_cast<float>(static_cast<const int8_t*>(codes)[i]) * table.scales[row];
  }
}

void nf4_row(const FrozenMatrix& table, int64_t row, const void* packed, float* out) {
  for (int64_t i = 0; i < table.in_features; ++i) {
    const uint8_t byte = static_cast<const uint8_t*>(packed)[i / 2];
    const int64_t block = (row * table.in_features + i) / kNf4BlockValues;
    const float absmax = table.form == Form::nf4 ? table.scales[block] : expanded_absmax(table, block);
    out[i] = kNf4Values[i % 2 == 0 ? byte >> 4 : byte & 15] * absmax;
  }
}

// Decodes row `row` of the table, which is stored at `from`.
void decode_row(const FrozenMatrix& table, int64_t row, const void* from, float* out) {
  switch (table.form) {
    case Form::float32: return widen_row<float>(from, table.in_features, out);
    case Form::float16: return widen_row<executorch::aten::Half>(from, table.in_features, out);
    case Form::bfloat16: return widen_row<executorch::aten::BFloat16>(from, table.in_features, out);
    case Form::int8: return int8_row(table, row, from, out);
    case Form::nf4:
    case Form::nf4_double: return nf4_row(table, row, from, out);
  }
}

}  // namespace

bool embed(const FrozenMatrix& table, const int64_t* tokens, int64_t count, int64_t slices, bool alone, float* out) {
  const UnmappedCopy copy = alone ? unmapped_copy.load() : nullptr;
  const int64_t row_bytes = table.in_features * bits_of(table.form) / 8;
  void* buffer = thread_buffer(table.in_features);
  if (buffer == nullptr) return false;
  for (int64_t i = 0; i < count; ++i) {
    const void* row = static_cast<const char*>(table.values) + tokens[i] * row_bytes;
    if (copy != nullptr && copy(row, static_cast<size_t>(row_bytes), buffer)) row = buffer;
    decode_row(table, tokens[i], row, out + i * table.in_features);
  }
  const int64_t slice = count * table.in_features;
  for (int64_t s = 1; s < slices; ++s) std::copy_n(out, slice, out + s * slice);
  return true;
}

void set_unmapped_copy(UnmappedCopy copy) { unmapped_copy = copy; }

void attention_bias(const int64_t* first, int64_t rows, int64_t length, int64_t slices, float* out) {
  for (int64_t sequence = 0; sequence < slices * rows; ++sequence) {
    for (int64_t position = 0; position < length; ++position) {
      for (int64_t key = 0; key < length; ++key) {
        *out++ = key <= position && key >= first[sequence % rows] ? 0.0f : kMasked;
      }
    }
  }
}

void answer_losses(const SimdLoops& loops, const float* logits, int64_t rows, int64_t vocabulary,
                   const int64_t* labels, int64_t label_count, int64_t answers, float* out) {
  for_each_task(rows / answers, [&](int64_t task) {
    float sum = 0.0f;
    for (int64_t r = task * answers; r < (task + 1) * answers; ++r) {
      const int64_t label = labels[r % label_count];
      if (label < 0) continue;
      const float* row = logits + r * vocabulary;
      const float wanted = row[label];
      const float largest = *std::max_element(row, row + vocabulary);
      sum += std::log(loops.sum_exponentials(row, largest, vocabulary)) + (largest - wanted);
    }
    out[task] = sum;
  });
}

}  // namespace prge
