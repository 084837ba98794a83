#include "step_parts.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "nf4.h"
#include "parallel.h"
#include "thread_buffer.h"

namespace prge {
namespace {

using executorch::aten::Half;
using executorch::aten::ScalarType;

constexpr float kMasked = -30000.0f;  // finite, so that a row without any key stays a number

std::atomic<UnmappedCopy> unmapped_copy{nullptr};

void int8_row(const void* codes, float scale, int64_t width, float* out) {
  for (int64_t i = 0; i < width; ++i) out[i] = static_cast<float>(static_cast<const int8_t*>(codes)[i]) * scale;
}

void half_row(const void* halves, int64_t width, float* out) {
  for (int64_t i = 0; i < width; ++i) out[i] = static_cast<float>(static_cast<const Half*>(halves)[i]);
}

// `first` is the number of the row's first value among all, by which blocks are counted.
void nf4_row(const void* packed, const float* absmax, int64_t first, int64_t width, float* out) {
  for (int64_t i = 0; i < width; ++i) {
    const uint8_t byte = static_cast<const uint8_t*>(packed)[i / 2];
    out[i] = kNf4Values[i % 2 == 0 ? byte >> 4 : byte & 15] * absmax[(first + i) / kNf4BlockValues];
  }
}

}  // namespace

bool embed(const Table& table, const int64_t* tokens, int64_t count, int64_t slices, bool alone, float* out) {
  const UnmappedCopy copy = alone ? unmapped_copy.load() : nullptr;
  void* buffer = thread_buffer(table.width);
  if (buffer == nullptr) return false;
  for (int64_t i = 0; i < count; ++i) {
    float* value = out + i * table.width;
    const void* row = static_cast<const char*>(table.values) + static_cast<size_t>(tokens[i]) * table.row_bytes;
    if (copy != nullptr && copy(row, table.row_bytes, buffer)) row = buffer;
    if (table.type == ScalarType::Char) {
      int8_row(row, table.scales[tokens[i]], table.width, value);
    } else if (table.type == ScalarType::Byte) {
      nf4_row(row, table.scales, tokens[i] * table.width, table.width, value);
    } else if (table.type == ScalarType::Half) {
      half_row(row, table.width, value);
    } else {
      std::memcpy(value, row, table.row_bytes);
    }
  }
  const int64_t slice = count * table.width;
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
