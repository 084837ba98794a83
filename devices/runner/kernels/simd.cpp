#include "simd.h"

#include "variant.h"

#if defined(__x86_64__)
PRGE_DECLARE_VARIANT(prge_avx512)
PRGE_DECLARE_VARIANT(prge_avx2)
#endif
PRGE_DECLARE_VARIANT(prge_base)

namespace prge {
namespace {

#define PRGE_LOOPS(name_, label_)                                                                              \
  SimdLoops {                                                                                                  \
    label_, name_::normals, name_::signs, name_::uniforms, name_::add_normals, name_::move_single,             \
        name_::move_half, name_::panel_width, name_::row_group, name_::decode,                                 \
        name_::multiply, name_::normalize, name_::swiglu, name_::geglu, name_::softmax, name_::sum_exponentials, \
        name_::rotate, name_::round_bfloat16                                                                   \
  }

struct Variants {
  SimdLoops loops[3];
  size_t count = 0;
};

Variants runnable() {
  Variants variants;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("f16c")) {
    variants.loops[variants.count++] = PRGE_LOOPS(prge_avx512, "avx512");
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    variants.loops[variants.count++] = PRGE_LOOPS(prge_avx2, "avx2");
  }
  variants.loops[variants.count++] = PRGE_LOOPS(prge_base, "sse2");
#elif defined(__aarch64__)
  variants.loops[variants.count++] = PRGE_LOOPS(prge_base, "neon");
#else
  variants.loops[variants.count++] = PRGE_LOOPS(prge_base, "generic");
#endif
  return variants;
}

const Variants& variants() {
  static const Variants found = runnable();
  return found;
}

}  // namespace

const SimdLoops& simd_loops() { return variants().loops[0]; }

const SimdLoops* simd_variant(size_t index) { return index < variants().count ? &variants().loops[index] : nullptr; }

}  // namespace prge
