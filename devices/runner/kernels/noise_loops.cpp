// Standard normals from Philox4x32-10 and Box-Muller, and signs from its bits, as docs/contracts.md ("Noise") defines
// them.
//
// Plain float32 operations in a fixed order, compiled with -ffp-contract=off: additions, multiplications and square
// roots are rounded the same way on every IEEE processor, so the normals have the same bits. The polynomials are
// minimax fits made for this file. Against float64: the radius is off by 3.5e-7 at most (all 2^23 values), a normal by
// 7.5e-7 (3e8 random ones, half of them with a large radius); tests/devices/runner/kernels/test_noise_kernel.py checks
// that it stays below 1e-6.
//
// Philox: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Box & Muller, 1958.
#include "bits.h"
#include "simd.h"
#include "variant.h"

namespace PRGE_VARIANT {
namespace {

using prge::bits_of;
using prge::float_of;

constexpr size_t kWidth = PRGE_PANEL_VECTORS * PRGE_VECTOR_BYTES / 4;  // of a panel
constexpr size_t kLanes = 64;  // Philox blocks per pass: enough for any vector width, and all of it stays in L1

// Words of the blocks that `block_of` names for each lane.
template <typename BlockOf>
inline void philox(const prge::NoiseStream& stream, BlockOf block_of, uint32_t words[4][kLanes]) {
  for (size_t lane = 0; lane < kLanes; ++lane) {
    uint32_t c0 = block_of(static_cast<uint32_t>(lane));
    uint32_t c1 = stream.query;
    uint32_t c2 = stream.step[0];
    uint32_t c3 = stream.step[1];
    uint32_t k0 = stream.key[0];
    uint32_t k1 = stream.key[1];
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
      const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
      c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
      c1 = static_cast<uint32_t>(p1);
      c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
      c3 = static_cast<uint32_t>(p0);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    words[0][lane] = c0;
    words[1][lane] = c1;
    words[2][lane] = c2;
    words[3][lane] = c3;
  }
}

// ln of a positive normal float. u = 2^e * m with m in [sqrt(1/2), sqrt(2)); near u = 1, e is 0 and f = m - 1 is exact,
// which keeps the relative error small where ln vanishes.
inline float natural_log(float u) {
  const uint32_t bits = bits_of(u) - 0x3F3504F3u;
  const int32_t exponent = static_cast<int32_t>(bits) >> 23;
  const float f = float_of((bits & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
  const float e = static_cast<float>(exponent);
  const float f2 = f * f;
  float p = -0.07634497f;
  p = p * f + 0.12761576f;
  p = p * f + -0.13160183f;
  p = p * f + 0.14201757f;
  p = p * f + -0.16623357f;
  p = p * f + 0.20001227f;
  p = p * f + -0.2500082f;
  p = p * f + 0.3333333f;
  float tail = p * f * f2;
  tail = tail + e * -2.12194440e-4f;  // ln 2 = 355/512 - 2.1219444e-4; 355/512 * e is exact
  tail = tail - 0.5f * f2;
  return (f + tail) + e * 0.693359375f;
}

// A number between 0 and 1, exact in float32.
inline float unit(uint32_t word) { return static_cast<float>(static_cast<int32_t>((word >> 9) * 2 + 1)) * 0x1p-24f; }

// Two normals from two words: radius from `a`, angle from `c`. The angle in turns is reduced to [-1/8, 1/8] in
// integers, hence exactly.
inline void box_muller(uint32_t a, uint32_t c, float* even, float* odd) {
  const float u = unit(a);
  const float radius = __builtin_sqrtf(-2.0f * natural_log(u));
  const uint32_t angle = c >> 9;
  const uint32_t quadrant = (angle + (1u << 20)) >> 21;
  const float r = static_cast<float>(static_cast<int32_t>(angle - (quadrant << 21))) * 0x1p-23f;
  const float s = r * r;
  float sine = -75.39359f;
  sine = sine * s + 81.592354f;
  sine = sine * s + -41.341663f;
  sine = sine * s + 6.2831855f;
  sine = sine * r;
  float cosine = 59.245964f;
  cosine = cosine * s + -85.44374f;
  cosine = cosine * s + 64.93932f;
  cosine = cosine * s + -19.739208f;
  cosine = cosine * s + 1.0f;
  const uint32_t swap = 0u - (quadrant & 1u);  // all ones in the odd quadrants
  const uint32_t sine_bits = bits_of(sine);
  const uint32_t cosine_bits = bits_of(cosine);
  const uint32_t for_even = ((cosine_bits & ~swap) | (sine_bits & swap)) ^ (((quadrant + 1) & 2u) << 30);
  const uint32_t for_odd = ((sine_bits & ~swap) | (cosine_bits & swap)) ^ ((quadrant & 2u) << 30);
  *even = radius * float_of(for_even);
  *odd = radius * float_of(for_odd);
}

// Four normals of each lane's block.
template <typename BlockOf>
inline void draw(const prge::NoiseStream& stream, BlockOf block_of, float z[4][kLanes]) {
  alignas(64) uint32_t words[4][kLanes];
  philox(stream, block_of, words);
  for (size_t lane = 0; lane < kLanes; ++lane) {
    box_muller(words[0][lane], words[1][lane], &z[0][lane], &z[1][lane]);
  }
  for (size_t lane = 0; lane < kLanes; ++lane) {
    box_muller(words[2][lane], words[3][lane], &z[2][lane], &z[3][lane]);
  }
}

inline auto following(uint32_t first_block) {
  return [first_block](uint32_t lane) { return first_block + lane; };
}

inline void pass(const prge::NoiseStream& stream, uint32_t first_block, float* out) {
  alignas(64) float z[4][kLanes];
  draw(stream, following(first_block), z);
  for (size_t lane = 0; lane < kLanes; ++lane) {
    out[4 * lane] = z[0][lane];
    out[4 * lane + 1] = z[1][lane];
    out[4 * lane + 2] = z[2][lane];
    out[4 * lane + 3] = z[3][lane];
  }
}

// +1 where the bit is 0, -1 where it is 1.
inline void spread_signs(uint32_t word, float* out) {
  for (uint32_t bit = 0; bit < 32; ++bit) out[bit] = float_of(0x3F800000u | ((word >> bit) << 31));
}

// Writes whole blocks; `write` turns each word into `values` values.
template <size_t values, typename Write>
inline void spread(const prge::NoiseStream& stream, uint32_t first_block, size_t blocks, float* out, Write write) {
  alignas(64) uint32_t words[4][kLanes];
  while (blocks > 0) {
    const size_t count = blocks < kLanes ? blocks : kLanes;
    philox(stream, following(first_block), words);
    for (size_t lane = 0; lane < count; ++lane) {
      for (size_t word = 0; word < 4; ++word) write(words[word][lane], out + values * (4 * lane + word));
    }
    blocks -= count;
    first_block += static_cast<uint32_t>(count);
    out += 4 * values * count;
  }
}

}  // namespace

void signs(const prge::NoiseStream& stream, uint32_t first_block, size_t blocks, float* out) {
  spread<32>(stream, first_block, blocks, out, [](uint32_t word, float* to) { spread_signs(word, to); });
}

void uniforms(const prge::NoiseStream& stream, uint32_t first_block, size_t blocks, float* out) {
  spread<1>(stream, first_block, blocks, out, [](uint32_t word, float* to) { *to = unit(word); });
}

void add_normals(const prge::NoiseStream& stream, uint32_t first_block, uint32_t column_blocks, size_t blocks,
                 float scale, float* panel) {
  constexpr uint32_t kTogether = kLanes / kWidth;  // blocks of each column that a pass draws
  alignas(64) float z[4][kLanes];
  for (size_t begin = 0; begin < blocks; begin += kTogether) {
    const uint32_t first = first_block + static_cast<uint32_t>(begin);
    draw(stream, [=](uint32_t lane) { return first + lane / kWidth + lane % kWidth * column_blocks; }, z);
    const size_t count = blocks - begin < kTogether ? blocks - begin : kTogether;
    for (size_t block = 0; block < count; ++block) {
      for (size_t word = 0; word < 4; ++word) {
        float* to = panel + ((begin + block) * 4 + word) * kWidth;
        for (size_t j = 0; j < kWidth; ++j) to[j] += scale * z[word][block * kWidth + j];
      }
    }
  }
}

void normals(const prge::NoiseStream& stream, uint32_t first_block, size_t blocks, float* out) {
  for (; blocks >= kLanes; blocks -= kLanes, first_block += kLanes, out += 4 * kLanes) {
    pass(stream, first_block, out);
  }
  if (blocks > 0) {
    alignas(64) float rest[4 * kLanes];
    pass(stream, first_block, rest);
    __builtin_memcpy(out, rest, 4 * blocks * sizeof(float));
  }
}

}  // namespace PRGE_VARIANT
