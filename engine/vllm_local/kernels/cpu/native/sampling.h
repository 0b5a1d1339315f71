// Passes over rows of logits, a block of tokens at a time; each block's result depends on nothing but the block.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "isa.h"
#include "sampling_rows.h"

namespace vllm_local {
namespace {

constexpr int kPlacesAtOnce = 4;

// Calls function(block, values) for each block; the last one is filled up with impossible tokens.
template <typename Function>
VLLM_LOCAL_INLINE void for_each_block(const RowBlocks& blocks, const Function& function) {
  for (int64_t block = blocks.begin; block < blocks.end; block++) {
    const float* values = blocks.row + block * kTokenBlock;
    const int64_t left = blocks.vocab_size - block * kTokenBlock;
    float filled[kTokenBlock];
    if (left < kTokenBlock) {
      for (int64_t i = 0; i < kTokenBlock; i++) filled[i] = i < left ? values[i] : -INFINITY;
      values = filled;
    }
    function(block, values);
  }
}

// What a block holds that is no number: NaN, else infinity.
VLLM_LOCAL_INLINE float find_poison(const float* values) {
  for (int i = 0; i < kTokenBlock; i++) {
    if (values[i] != values[i]) return values[i];
  }
  return INFINITY;
}

// A block's largest value; NaN or infinity where it holds one of them.
template <typename Isa>
VLLM_LOCAL_INLINE float largest_of(const float* values) {
  using Vector = typename Isa::Vector;
  const Vector lowest = Isa::broadcast(-FLT_MAX), zero = Isa::broadcast(0.0f);
  Vector largest = Isa::load(values), poison = zero;
  for (int i = 0; i < kTokenBlock; i += Isa::kWidth) {
    const Vector numbers = Isa::load(values + i);
    largest = Isa::maximum(largest, numbers);
    // The second operand is what a comparison with NaN yields; times zero, only NaN and infinity leave a trace.
    poison = Isa::fma(Isa::maximum(lowest, numbers), zero, poison);
  }
  const float trace = Isa::sum(poison);
  return trace == trace ? Isa::largest(largest) : find_poison(values);
}

template <typename Isa>
VLLM_LOCAL_INLINE typename Isa::Vector exponents_of(const float* values, const Weighing& weighing) {
  const typename Isa::Vector distance = Isa::subtract(Isa::load(values), Isa::broadcast(weighing.largest));
  return Isa::multiply(distance, Isa::broadcast(weighing.scale));
}

template <typename Isa>
VLLM_LOCAL_INLINE typename Isa::Vector weights_of(typename Isa::Vector exponents, const Weighing& weighing) {
  return Isa::where_at_least(exponents, Isa::broadcast(weighing.least), power_of_two<Isa>(exponents));
}

template <typename Isa>
VLLM_LOCAL_INLINE typename Isa::Vector weights_of(const float* values, const Weighing& weighing) {
  return weights_of<Isa>(exponents_of<Isa>(values, weighing), weighing);
}

template <typename Isa>
VLLM_LOCAL_INLINE float sum_weights(const float* values, const Weighing& weighing) {
  typename Isa::Vector sum = Isa::broadcast(0.0f);
  for (int i = 0; i < kTokenBlock; i += Isa::kWidth) sum = Isa::add(sum, weights_of<Isa>(values + i, weighing));
  return Isa::sum(sum);
}

template <typename Isa>
void scan_blocks(const RowBlocks& blocks, const BlockSums* wanted, int num_wanted, float* maxima) {
  for_each_block(blocks, [&](int64_t block, const float* values) {
    maxima[block] = largest_of<Isa>(values);
    // Of a block of impossible tokens, every distance to the largest shall be infinite.
    const float largest = fmaxf(maxima[block], -FLT_MAX);
    for (int i = 0; i < num_wanted; i++) {
      wanted[i].sums[block] = sum_weights<Isa>(values, {largest, wanted[i].scale, kLeastExponent});
    }
  });
}

template <typename Isa>
void rescale_sums(const float* maxima, int64_t num_blocks, const Weighing& weighing, float* sums) {
  const RowBlocks all = {maxima, num_blocks, 0, (num_blocks + kTokenBlock - 1) / kTokenBlock};
  for_each_block(all, [&](int64_t group, const float* values) {
    float weights[kTokenBlock];
    for (int i = 0; i < kTokenBlock; i += Isa::kWidth) Isa::store(weights + i, weights_of<Isa>(values + i, weighing));
    const int64_t first = group * kTokenBlock, count = std::min<int64_t>(kTokenBlock, num_blocks - first);
    for (int64_t i = 0; i < count; i++) sums[first + i] *= weights[i];
  });
}

template <typename Isa>
void block_sums(const RowBlocks& blocks, const Weighing& weighing, float* sums) {
  for_each_block(blocks, [&](int64_t block, const float* values) { sums[block] = sum_weights<Isa>(values, weighing); });
}

template <typename Isa>
void add_heads(const RowBlocks& blocks, const Weighing& weighing, double* heads) {
  using Vector = typename Isa::Vector;
  for_each_block(blocks, [&](int64_t, const float* values) {
    Vector in_head[kNumHeads];
    for (Vector& sum : in_head) sum = Isa::broadcast(0.0f);
    for (int i = 0; i < kTokenBlock; i += Isa::kWidth) {
      const Vector exponents = exponents_of<Isa>(values + i, weighing);
      const Vector weights = weights_of<Isa>(exponents, weighing);
      for (int head = 0; head < kNumHeads; head++) {
        const Vector least = Isa::broadcast(kHeadExponents[head]);
        in_head[head] = Isa::add(in_head[head], Isa::where_at_least(exponents, least, weights));
      }
    }
    for (int head = 0; head < kNumHeads; head++) heads[head] += Isa::sum(in_head[head]);
  });
}

template <typename Isa>
void block_weights(const RowBlocks& blocks, const Weighing& weighing, float* weights) {
  for_each_block(blocks, [&](int64_t, const float* values) {
    for (int i = 0; i < kTokenBlock; i += Isa::kWidth) Isa::store(weights + i, weights_of<Isa>(values + i, weighing));
  });
}

// Appends `first` plus the place of each bit to places. Four at a time are written whether there are as many or not:
// to write too many costs less than to guess wrong how many there are. Returns how many there are.
VLLM_LOCAL_INLINE int append_places(uint32_t bits, int first, uint8_t* places) {
  constexpr uint32_t kNoBit = 1u << 31;
  const int count = __builtin_popcount(bits);
  for (int done = 0; done < count; done += kPlacesAtOnce) {
    for (int i = 0; i < kPlacesAtOnce; i++, bits &= bits - 1) {
      places[done + i] = static_cast<uint8_t>(first + __builtin_ctz(bits | kNoBit));
    }
  }
  return count;
}

template <typename Isa>
void fill_bins(const RowBlocks& blocks, const Weighing& weighing, float least_exponent, double* sums,
               uint16_t* bins) {
  using Vector = typename Isa::Vector;
  const Vector least = Isa::broadcast(least_exponent), scale = Isa::broadcast(kExponentBins / least_exponent);
  const Vector last = Isa::broadcast(kExponentBins - 1);
  for_each_block(blocks, [&](int64_t block, const float* values) {
    uint16_t* in_block = bins + (block - blocks.begin) * kTokenBlock;
    for (int i = 0; i < kTokenBlock; i++) in_block[i] = kNoBin;
    float weights[kTokenBlock], numbers[kTokenBlock];
    uint8_t places[kTokenBlock + kPlacesAtOnce];
    int count = 0;
    for (int i = 0; i < kTokenBlock; i += Isa::kWidth) {
      const Vector exponents = exponents_of<Isa>(values + i, weighing);
      const uint32_t bits = Isa::bits_at_least(exponents, least);
      if (bits == 0) continue;
      Isa::store(weights + i, weights_of<Isa>(exponents, weighing));
      Isa::store(numbers + i, Isa::minimum(Isa::multiply(exponents, scale), last));
      count += append_places(bits, i, places + count);
    }
    for (int i = 0; i < count; i++) {
      const int place = places[i], bin = static_cast<int>(numbers[place]);
      in_block[place] = static_cast<uint16_t>(bin);
      sums[bin * kBinSums + place % kBinSums] += weights[place];
    }
  });
}

template <typename Isa>
int64_t count_above(const RowBlocks& blocks, float value) {
  using Vector = typename Isa::Vector;
  const Vector next = Isa::broadcast(nextafterf(value, INFINITY)), one = Isa::broadcast(1.0f);
  int64_t count = 0;
  for_each_block(blocks, [&](int64_t, const float* values) {
    Vector sum = Isa::broadcast(0.0f);
    for (int i = 0; i < kTokenBlock; i += Isa::kWidth) {
      sum = Isa::add(sum, Isa::where_at_least(Isa::load(values + i), next, one));
    }
    count += static_cast<int64_t>(Isa::sum(sum));
  });
  return count;
}

template <typename Isa>
constexpr SamplingKernels sampling_kernels() {
  return {scan_blocks<Isa>,   rescale_sums<Isa>, block_sums<Isa>, add_heads<Isa>,
          block_weights<Isa>, fill_bins<Isa>,    count_above<Isa>};
}

}  // namespace
}  // namespace vllm_local
