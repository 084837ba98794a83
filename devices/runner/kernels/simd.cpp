#include "simd.h"

#if defined(PRGE_PAIRS) && defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "variant.h"

#if defined(PRGE_PAIRS) && defined(__x86_64__)
PRGE_DECLARE_PAIRS(prge_avx512_bf16)
#elif defined(PRGE_PAIRS)
PRGE_DECLARE_PAIRS(prge_base_bf16)
#endif
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

// A variant's loops with a bfloat16 layer's operands in pairs.
#define PRGE_LOOPS_OF_PAIRS(name_, pairs_, label_)   \
  [] {                                               \
    SimdLoops loops = PRGE_LOOPS(name_, label_);     \
    loops.decode = name_::decode_pairs;              \
    loops.multiply = pairs_::multiply;               \
    loops.round_bfloat16 = pairs_::round_bfloat16;   \
    loops.word_values = 2;                           \
    return loops;                                    \
  }()

struct Variants {
  Variants();
  Variants(const Variants&) = delete;  // `loops` point to `pairs`
  Variants& operator=(const Variants&) = delete;

  SimdLoops loops[4];
  SimdLoops pairs;
  size_t count = 0;

 private:
  void add(const SimdLoops& variant) { loops[count++] = variant; }
  void add(const SimdLoops& variant, const SimdLoops& of_pairs) {
    pairs = of_pairs;
    add(variant);
    loops[count - 1].of_pairs = &pairs;
  }
};

Variants::Variants() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("f16c")) {
#if defined(PRGE_PAIRS)
    if (__builtin_cpu_supports("avx512bf16")) {
      add(PRGE_LOOPS(prge_avx512, "avx512_bf16"), PRGE_LOOPS_OF_PAIRS(prge_avx512, prge_avx512_bf16, "avx512_bf16"));
    }
#endif
    add(PRGE_LOOPS(prge_avx512, "avx512"));
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    add(PRGE_LOOPS(prge_avx2, "avx2"));
  }
  add(PRGE_LOOPS(prge_base, "sse2"));
#elif defined(__aarch64__)
#if defined(PRGE_PAIRS)
  constexpr unsigned long kBfloat16 = 1ul << 14;  // HWCAP2_BF16
  if ((getauxval(AT_HWCAP2) & kBfloat16) != 0) {
    add(PRGE_LOOPS(prge_base, "neon_bf16"), PRGE_LOOPS_OF_PAIRS(prge_base, prge_base_bf16, "neon_bf16"));
  }
#endif
  add(PRGE_LOOPS(prge_base, "neon"));
#else
  add(PRGE_LOOPS(prge_base, "generic"));
#endif
}

const Variants& variants() {
  static const Variants found;
  return found;
}

size_t chosen = 0;

}  // namespace

const SimdLoops& simd_loops() { return variants().loops[chosen]; }

bool choose_simd_loops(const std::string& name) {
  for (size_t i = 0; i < variants().count; ++i) {
    if (variants().loops[i].name != name) continue;
    chosen = i;
    return true;
  }
  return false;
}

const SimdLoops* simd_variant(size_t index) { return index < variants().count ? &variants().loops[index] : nullptr; }

}  // namespace prge
