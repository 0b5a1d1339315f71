// Where a token's K and V lie in a layer's paged cache.
//
// A block holds every head's K, then those of the next block; V likewise, in memory of its own.
//   K of a head: [block size / tile][D][tile], so that one vector holds the same number of neighbouring tokens;
//     a tile is kTile tokens, or a whole block whose size is no multiple of it.
//   V of a head: [block size][padded D]; the numbers after D stay zero.
#pragma once

#include <cfloat>

#include "api.h"
#include "isa.h"

namespace vllm_local {
namespace {

// Tokens of a K tile. Every vector's width divides it.
constexpr int kTile = 16;

VLLM_LOCAL_INLINE int padded_head_size(int head_size) { return (head_size + kTile - 1) / kTile * kTile; }

template <typename Number>
struct LargestNumber;
template <>
struct LargestNumber<float> {
  static constexpr float value = FLT_MAX;
};
template <>
struct LargestNumber<bfloat16> {
  static constexpr float value = 0x1.fep127f;
};

// Masked positions are multiplied by zero, not skipped: a NaN or infinity would spoil whoever gets the block next.
template <typename Number>
VLLM_LOCAL_INLINE float make_finite(float value) {
  constexpr float largest = LargestNumber<Number>::value;
  if (value != value) return 0.0f;
  return value > largest ? largest : value < -largest ? -largest : value;
}

// One layer's cache, with the layout worked out.
template <typename Number>
struct PagedCache {
  Number* k;
  Number* v;
  int64_t block_size;
  int64_t num_kv_heads;
  int head_size;
  int padded_size;
  int64_t tile;

  explicit PagedCache(const KVCache& cache)
      : k(static_cast<Number*>(cache.k)),
        v(static_cast<Number*>(cache.v)),
        block_size(cache.block_size),
        num_kv_heads(cache.num_kv_heads),
        head_size(cache.head_size),
        padded_size(padded_head_size(cache.head_size)),
        tile(cache.block_size % kTile == 0 ? kTile : cache.block_size) {}

  // The token's first number of K; the next one is `tile` numbers on.
  Number* key(int64_t block, int64_t kv_head, int64_t offset) const {
    const int64_t tile_start = offset / tile * tile;
    return k + ((block * num_kv_heads + kv_head) * block_size + tile_start) * head_size + (offset - tile_start);
  }

  // The token's V.
  Number* value(int64_t block, int64_t kv_head, int64_t offset) const {
    return v + ((block * num_kv_heads + kv_head) * block_size + offset) * padded_size;
  }

  void write_key(int64_t slot, int64_t kv_head, const float* numbers) const {
    Number* target = key(slot / block_size, kv_head, slot % block_size);
    for (int i = 0; i < head_size; i++) from_float(make_finite<Number>(numbers[i]), target + i * tile);
  }

  void write_value(int64_t slot, int64_t kv_head, const float* numbers) const {
    Number* target = value(slot / block_size, kv_head, slot % block_size);
    for (int i = 0; i < head_size; i++) from_float(make_finite<Number>(numbers[i]), target + i);
  }
};

}  // namespace
}  // namespace vllm_local
