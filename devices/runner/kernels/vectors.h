// Vectors of float32, as wide as the registers of the variant that includes this (variant.h).
#pragma once

#include "variant.h"

namespace PRGE_VARIANT {
namespace {

typedef float Vector __attribute__((vector_size(PRGE_VECTOR_BYTES), aligned(4)));

constexpr int kVectorValues = PRGE_VECTOR_BYTES / 4;

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

}  // namespace
}  // namespace PRGE_VARIANT
