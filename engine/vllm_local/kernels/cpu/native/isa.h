// Instruction sets as template parameters: each struct offers the same dozen primitives on one vector of floats, and
// the sizes that suit linear layers. A panel has the columns of kPanelVectors vectors, a tile of inputs has kTileRows
// rows. A block of a panel, which many tiles use in turn, has up to kBlockBytes of weights, counted as float32, or
// kFewTilesBlockBytes; the block that comes kBlocksAhead later is fetched meanwhile.
//
// Everything is in an anonymous namespace, here and in the kernels' headers: each isa_*.cpp is compiled with flags of
// its own, and the linker must never keep one file's copy of an inline function for another.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif
#if defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(VLLM_LOCAL_SANITIZE)
#define VLLM_LOCAL_INLINE static inline  // checks that are inlined everywhere take minutes to compile
#else
#define VLLM_LOCAL_INLINE static inline __attribute__((always_inline))
#endif

namespace vllm_local {
namespace {

// A float's upper half.
struct bfloat16 {
  uint16_t bits;
};

VLLM_LOCAL_INLINE float to_float(float value) { return value; }

VLLM_LOCAL_INLINE float to_float(bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  memcpy(&result, &bits, sizeof(result));
  return result;
}

VLLM_LOCAL_INLINE void from_float(float value, float* target) { *target = value; }

// Rounds to nearest, ties to even; NaN stays NaN.
VLLM_LOCAL_INLINE void from_float(float value, bfloat16* target) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  target->bits = static_cast<uint16_t>((is_nan ? (bits | 0x400000u) : rounded) >> 16);
}

// Blocks that leave room in the first cache, less of them where the next one has to arrive beside the work of few tiles.
struct ShortBlocks {
  static constexpr int64_t kBlockBytes = 16 << 10, kFewTilesBlockBytes = 12 << 10, kBlocksAhead = 2;
};

// Plain C++ that compiles anywhere. Products and sums are rounded separately.
struct Portable : ShortBlocks {
  static constexpr int kWidth = 4;
  static constexpr int kPanelVectors = 2;
  static constexpr int kTileRows = 4;
  static constexpr bool kDotsBfloat16 = false;

  struct Vector {
    float lane[kWidth];
  };

  template <typename Function>
  VLLM_LOCAL_INLINE Vector each(Function function) {
    Vector result;
    for (int i = 0; i < kWidth; i++) result.lane[i] = function(i);
    return result;
  }

  VLLM_LOCAL_INLINE Vector broadcast(float value) {
    return each([=](int) { return value; });
  }
  VLLM_LOCAL_INLINE Vector load(const float* source) {
    return each([=](int i) { return source[i]; });
  }
  VLLM_LOCAL_INLINE Vector load(const bfloat16* source) {
    return each([=](int i) { return to_float(source[i]); });
  }
  VLLM_LOCAL_INLINE void store(float* target, Vector a) {
    for (int i = 0; i < kWidth; i++) target[i] = a.lane[i];
  }
  VLLM_LOCAL_INLINE void store(bfloat16* target, Vector a) {
    for (int i = 0; i < kWidth; i++) from_float(a.lane[i], target + i);
  }
  VLLM_LOCAL_INLINE Vector add(Vector a, Vector b) {
    return each([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  VLLM_LOCAL_INLINE Vector subtract(Vector a, Vector b) {
    return each([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  VLLM_LOCAL_INLINE Vector multiply(Vector a, Vector b) {
    return each([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  VLLM_LOCAL_INLINE Vector divide(Vector a, Vector b) {
    return each([&](int i) { return a.lane[i] / b.lane[i]; });
  }
  // a · b + c
  VLLM_LOCAL_INLINE Vector fma(Vector a, Vector b, Vector c) {
    return each([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  VLLM_LOCAL_INLINE Vector maximum(Vector a, Vector b) {
    return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  VLLM_LOCAL_INLINE Vector minimum(Vector a, Vector b) {
    return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  // value where a is at least b, else 0
  VLLM_LOCAL_INLINE Vector where_at_least(Vector a, Vector b, Vector value) {
    return each([&](int i) { return a.lane[i] >= b.lane[i] ? value.lane[i] : 0.0f; });
  }
  // A bit for each number, the first one lowest: whether a is at least b.
  VLLM_LOCAL_INLINE uint32_t bits_at_least(Vector a, Vector b) {
    uint32_t bits = 0;
    for (int i = 0; i < kWidth; i++) bits |= static_cast<uint32_t>(a.lane[i] >= b.lane[i]) << i;
    return bits;
  }
  VLLM_LOCAL_INLINE Vector round(Vector a) {
    return each([&](int i) { return nearbyintf(a.lane[i]); });
  }
  // a · 2^exponent, for whole exponents from -126 to 127
  VLLM_LOCAL_INLINE Vector scale_by_power(Vector a, Vector exponent) {
    return each([&](int i) {
      const int32_t bits = (static_cast<int32_t>(exponent.lane[i]) + 127) << 23;
      float power;
      memcpy(&power, &bits, sizeof(power));
      return a.lane[i] * power;
    });
  }
  // Two vectors from one row of packed bf16: low halves, high halves.
  VLLM_LOCAL_INLINE void load_halves(const bfloat16* source, Vector* low, Vector* high) {
    for (int i = 0; i < kWidth; i++) {
      low->lane[i] = to_float(source[2 * i]);
      high->lane[i] = to_float(source[2 * i + 1]);
    }
  }
  VLLM_LOCAL_INLINE float sum(Vector a) { return (a.lane[0] + a.lane[2]) + (a.lane[1] + a.lane[3]); }
  VLLM_LOCAL_INLINE float largest(Vector a) {
    float result = a.lane[0];
    for (int i = 1; i < kWidth; i++) result = a.lane[i] > result ? a.lane[i] : result;
    return result;
  }
};

#if defined(__AVX2__) && defined(__FMA__)
struct Avx2 {
  static constexpr int kWidth = 8;
  static constexpr int kPanelVectors = 2;
  static constexpr int kTileRows = 6;
  static constexpr int64_t kBlockBytes = 56 << 10, kFewTilesBlockBytes = 56 << 10, kBlocksAhead = 1;
  static constexpr bool kDotsBfloat16 = false;

  using Vector = __m256;

  VLLM_LOCAL_INLINE Vector broadcast(float value) { return _mm256_set1_ps(value); }
  VLLM_LOCAL_INLINE Vector load(const float* source) { return _mm256_loadu_ps(source); }
  VLLM_LOCAL_INLINE Vector load(const bfloat16* source) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  VLLM_LOCAL_INLINE void store(float* target, Vector a) { _mm256_storeu_ps(target, a); }
  VLLM_LOCAL_INLINE void store(bfloat16* target, Vector a) {
    const __m256i bits = _mm256_castps_si256(a);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    const __m256i halves = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, is_nan), 16);
    const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target), packed);
  }
  VLLM_LOCAL_INLINE Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  VLLM_LOCAL_INLINE Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  VLLM_LOCAL_INLINE Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  VLLM_LOCAL_INLINE Vector divide(Vector a, Vector b) { return _mm256_div_ps(a, b); }
  VLLM_LOCAL_INLINE Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  VLLM_LOCAL_INLINE Vector maximum(Vector a, Vector b) { return _mm256_max_ps(a, b); }
  VLLM_LOCAL_INLINE Vector minimum(Vector a, Vector b) { return _mm256_min_ps(a, b); }
  VLLM_LOCAL_INLINE Vector where_at_least(Vector a, Vector b, Vector value) {
    return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ), value);
  }
  VLLM_LOCAL_INLINE uint32_t bits_at_least(Vector a, Vector b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
  }
  VLLM_LOCAL_INLINE Vector round(Vector a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  VLLM_LOCAL_INLINE Vector scale_by_power(Vector a, Vector exponent) {
    const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(exponent), _mm256_set1_epi32(127));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23)));
  }
  VLLM_LOCAL_INLINE void load_halves(const bfloat16* source, Vector* low, Vector* high) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source));
    *low = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
    *high = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  VLLM_LOCAL_INLINE float sum(Vector a) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  VLLM_LOCAL_INLINE float largest(Vector a) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }
};
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
struct Avx512 {
  static constexpr int kWidth = 16;
  static constexpr int kPanelVectors = 2;
  static constexpr int kTileRows = 14;
  // Weights reach the adders from the second cache in time, and each block costs a tile its sums' way to memory.
  static constexpr int64_t kBlockBytes = 84 << 10, kFewTilesBlockBytes = 14 << 10, kBlocksAhead = 1;
  static constexpr bool kDotsBfloat16 = false;

  using Vector = __m512;

  VLLM_LOCAL_INLINE Vector broadcast(float value) { return _mm512_set1_ps(value); }
  VLLM_LOCAL_INLINE Vector load(const float* source) { return _mm512_loadu_ps(source); }
  VLLM_LOCAL_INLINE Vector load(const bfloat16* source) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  VLLM_LOCAL_INLINE void store(float* target, Vector a) { _mm512_storeu_ps(target, a); }
  VLLM_LOCAL_INLINE void store(bfloat16* target, Vector a) {
    const __m512i bits = _mm512_castps_si512(a);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    const __m512i quiet = _mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x400000));
    const __m256i packed = _mm512_cvtepi32_epi16(_mm512_srli_epi32(quiet, 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target), packed);
  }
  VLLM_LOCAL_INLINE Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  VLLM_LOCAL_INLINE Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  VLLM_LOCAL_INLINE Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  VLLM_LOCAL_INLINE Vector divide(Vector a, Vector b) { return _mm512_div_ps(a, b); }
  VLLM_LOCAL_INLINE Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  VLLM_LOCAL_INLINE Vector maximum(Vector a, Vector b) { return _mm512_max_ps(a, b); }
  VLLM_LOCAL_INLINE Vector minimum(Vector a, Vector b) { return _mm512_min_ps(a, b); }
  VLLM_LOCAL_INLINE Vector where_at_least(Vector a, Vector b, Vector value) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GE_OQ), value);
  }
  VLLM_LOCAL_INLINE uint32_t bits_at_least(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
  VLLM_LOCAL_INLINE Vector round(Vector a) { return _mm512_roundscale_ps(a, 0); }
  VLLM_LOCAL_INLINE Vector scale_by_power(Vector a, Vector exponent) { return _mm512_scalef_ps(a, exponent); }
  VLLM_LOCAL_INLINE void load_halves(const bfloat16* source, Vector* low, Vector* high) {
    const __m512i pairs = _mm512_loadu_si512(source);
    *low = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    *high = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  // Always halves onto halves: what the compiler makes of _mm512_reduce_add_ps is its own business.
  VLLM_LOCAL_INLINE float sum(Vector a) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    return Avx2::sum(half);
  }
  VLLM_LOCAL_INLINE float largest(Vector a) {
    return Avx2::largest(_mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)));
  }
};
#endif

#if defined(__AVX512BF16__)
struct Avx512Bf16 : Avx512 {
  static constexpr bool kDotsBfloat16 = true;

  using Avx512::store;
  VLLM_LOCAL_INLINE void store(bfloat16* target, Vector a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target), (__m256i)_mm512_cvtneps_pbh(a));
  }
  using Pairs = __m512bh;

  VLLM_LOCAL_INLINE Pairs load_pairs(const bfloat16* source) { return (Pairs)_mm512_loadu_si512(source); }
  // Pairs of a number of each.
  VLLM_LOCAL_INLINE Pairs interleave(const bfloat16* first, const bfloat16* second) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second));
    return (Pairs)_mm512_permutexvar_epi16(order, _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
  }
  VLLM_LOCAL_INLINE Pairs broadcast_pair(uint32_t pair) { return (Pairs)_mm512_set1_epi32(static_cast<int>(pair)); }
  // sum + a's two numbers times b's two, lane by lane
  VLLM_LOCAL_INLINE Vector dot(Pairs a, Pairs b, Vector sum) { return _mm512_dpbf16_ps(sum, a, b); }
};
#endif

#if defined(__ARM_NEON) && defined(__aarch64__)
struct Neon : ShortBlocks {
  static constexpr int kWidth = 4;
  static constexpr int kPanelVectors = 4;
  static constexpr int kTileRows = 6;
  static constexpr bool kDotsBfloat16 = false;

  using Vector = float32x4_t;

  VLLM_LOCAL_INLINE Vector broadcast(float value) { return vdupq_n_f32(value); }
  VLLM_LOCAL_INLINE Vector load(const float* source) { return vld1q_f32(source); }
  VLLM_LOCAL_INLINE Vector load(const bfloat16* source) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t*>(source)), 16));
  }
  VLLM_LOCAL_INLINE void store(float* target, Vector a) { vst1q_f32(target, a); }
  VLLM_LOCAL_INLINE void store(bfloat16* target, Vector a) {
    const uint32x4_t bits = vreinterpretq_u32_f32(a);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    const uint32x4_t chosen = vbslq_u32(vceqq_f32(a, a), rounded, quiet);
    vst1_u16(reinterpret_cast<uint16_t*>(target), vshrn_n_u32(chosen, 16));
  }
  VLLM_LOCAL_INLINE Vector add(Vector a, Vector b) { return vaddq_f32(a, b); }
  VLLM_LOCAL_INLINE Vector subtract(Vector a, Vector b) { return vsubq_f32(a, b); }
  VLLM_LOCAL_INLINE Vector multiply(Vector a, Vector b) { return vmulq_f32(a, b); }
  VLLM_LOCAL_INLINE Vector divide(Vector a, Vector b) { return vdivq_f32(a, b); }
  VLLM_LOCAL_INLINE Vector fma(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
  VLLM_LOCAL_INLINE Vector maximum(Vector a, Vector b) { return vmaxq_f32(a, b); }
  VLLM_LOCAL_INLINE Vector minimum(Vector a, Vector b) { return vminq_f32(a, b); }
  VLLM_LOCAL_INLINE Vector where_at_least(Vector a, Vector b, Vector value) {
    return vreinterpretq_f32_u32(vandq_u32(vcgeq_f32(a, b), vreinterpretq_u32_f32(value)));
  }
  VLLM_LOCAL_INLINE uint32_t bits_at_least(Vector a, Vector b) {
    constexpr uint32_t kBits[kWidth] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgeq_f32(a, b), vld1q_u32(kBits)));
  }
  VLLM_LOCAL_INLINE Vector round(Vector a) { return vrndnq_f32(a); }
  VLLM_LOCAL_INLINE Vector scale_by_power(Vector a, Vector exponent) {
    const int32x4_t biased = vaddq_s32(vcvtnq_s32_f32(exponent), vdupq_n_s32(127));
    return vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(biased, 23)));
  }
  VLLM_LOCAL_INLINE void load_halves(const bfloat16* source, Vector* low, Vector* high) {
    const uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(reinterpret_cast<const uint16_t*>(source)));
    *low = vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
    *high = vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000u)));
  }
  VLLM_LOCAL_INLINE float sum(Vector a) {
    const float32x2_t half = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(half, 0) + vget_lane_f32(half, 1);
  }
  VLLM_LOCAL_INLINE float largest(Vector a) { return vmaxvq_f32(a); }
};
#endif

#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
struct NeonBf16 : Neon {
  static constexpr bool kDotsBfloat16 = true;

  using Neon::store;
  VLLM_LOCAL_INLINE void store(bfloat16* target, Vector a) {
    vst1_u16(reinterpret_cast<uint16_t*>(target), vreinterpret_u16_bf16(vcvt_bf16_f32(a)));
  }
  using Pairs = bfloat16x8_t;

  VLLM_LOCAL_INLINE Pairs load_pairs(const bfloat16* source) {
    return vreinterpretq_bf16_u16(vld1q_u16(reinterpret_cast<const uint16_t*>(source)));
  }
  // Pairs of a number of each.
  VLLM_LOCAL_INLINE Pairs interleave(const bfloat16* first, const bfloat16* second) {
    const uint16x4_t low = vld1_u16(reinterpret_cast<const uint16_t*>(first));
    const uint16x4_t high = vld1_u16(reinterpret_cast<const uint16_t*>(second));
    return vreinterpretq_bf16_u16(vcombine_u16(vzip1_u16(low, high), vzip2_u16(low, high)));
  }
  VLLM_LOCAL_INLINE Pairs broadcast_pair(uint32_t pair) { return vreinterpretq_bf16_u32(vdupq_n_u32(pair)); }
  // sum + a's two numbers times b's two, lane by lane
  VLLM_LOCAL_INLINE Vector dot(Pairs a, Pairs b, Vector sum) { return vbfdotq_f32(sum, a, b); }
};
#endif

// The first `count` numbers, zeros after them; for the ends of rows.
template <typename Isa, typename Number>
VLLM_LOCAL_INLINE typename Isa::Vector load_partial(const Number* source, int count) {
  Number numbers[Isa::kWidth] = {};
  memcpy(numbers, source, count * sizeof(Number));
  return Isa::load(numbers);
}

template <typename Isa, typename Number>
VLLM_LOCAL_INLINE void store_partial(Number* target, typename Isa::Vector a, int count) {
  Number numbers[Isa::kWidth];
  Isa::store(numbers, a);
  memcpy(target, numbers, count * sizeof(Number));
}

// A whole vector, or what is left of a row.
template <typename Isa, typename Number>
VLLM_LOCAL_INLINE typename Isa::Vector load_up_to(const Number* source, int64_t left) {
  return left >= Isa::kWidth ? Isa::load(source) : load_partial<Isa>(source, static_cast<int>(left));
}

template <typename Isa, typename Number>
VLLM_LOCAL_INLINE void store_up_to(Number* target, typename Isa::Vector a, int64_t left) {
  if (left >= Isa::kWidth) {
    Isa::store(target, a);
  } else {
    store_partial<Isa>(target, a, static_cast<int>(left));
  }
}

// e^x to about 1e-7 relative; below -87 it is 0 up to the smallest normal number, above 88 it saturates.
// The polynomial is exp's minimax on [-ln 2 / 2, ln 2 / 2] (Cephes, expf).
template <typename Isa>
VLLM_LOCAL_INLINE typename Isa::Vector exponential(typename Isa::Vector x) {
  using Vector = typename Isa::Vector;
  x = Isa::minimum(Isa::maximum(x, Isa::broadcast(-87.0f)), Isa::broadcast(88.0f));
  const Vector power = Isa::round(Isa::multiply(x, Isa::broadcast(1.44269504088896341f)));
  // ln 2 in two parts, so that the difference is exact.
  Vector rest = Isa::fma(power, Isa::broadcast(-0.693359375f), x);
  rest = Isa::fma(power, Isa::broadcast(2.12194440e-4f), rest);
  Vector series = Isa::broadcast(1.9875691500e-4f);
  series = Isa::fma(series, rest, Isa::broadcast(1.3981999507e-3f));
  series = Isa::fma(series, rest, Isa::broadcast(8.3334519073e-3f));
  series = Isa::fma(series, rest, Isa::broadcast(4.1665795894e-2f));
  series = Isa::fma(series, rest, Isa::broadcast(1.6666665459e-1f));
  series = Isa::fma(series, rest, Isa::broadcast(5.0000001201e-1f));
  series = Isa::fma(Isa::multiply(rest, rest), series, Isa::add(rest, Isa::broadcast(1.0f)));
  return Isa::scale_by_power(series, power);
}

// 2^x for x up to 0, to about 2e-7 relative; below -126 it is the smallest normal number.
// The polynomial is minimax on [-1/2, 1/2] among those that are 1 at 0 (by Lawson's algorithm).
template <typename Isa>
VLLM_LOCAL_INLINE typename Isa::Vector power_of_two(typename Isa::Vector x) {
  using Vector = typename Isa::Vector;
  x = Isa::maximum(x, Isa::broadcast(-126.0f));
  const Vector whole = Isa::round(x), rest = Isa::subtract(x, whole);
  Vector series = Isa::broadcast(1.3264727247e-3f);
  series = Isa::fma(series, rest, Isa::broadcast(9.6715126882e-3f));
  series = Isa::fma(series, rest, Isa::broadcast(5.5507337436e-2f));
  series = Isa::fma(series, rest, Isa::broadcast(2.4022242085e-1f));
  series = Isa::fma(series, rest, Isa::broadcast(6.9314697760e-1f));
  series = Isa::fma(series, rest, Isa::broadcast(1.0f));
  return Isa::scale_by_power(series, whole);
}

}  // namespace
}  // namespace vllm_local
