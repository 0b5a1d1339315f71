// Passes over rows of logits, a block of tokens at a time; each block's result depends on nothing but the block.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "isa.h"
#include "sampling_rows.h"

namespace vllm_local {
namespace {

// Blocks of a scan that lie in the first cache together.
constexpr int64_t kBlocksAtOnce = 16;

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

// Sums of a block's weights, relative to its largest value. A weight too small for a normal number counts as the
// smallest one: beside the largest one, which is 1, it is nothing.
template <typename Isa, int kWanted>
VLLM_LOCAL_INLINE void sum_block(const float* values, float largest, const BlockSums* wanted, int64_t block) {
  using Vector = typename Isa::Vector;
  // Of a block of impossible tokens, every distance to the largest shall be infinite.
  const Vector reference = Isa::broadcast(fmaxf(largest, -FLT_MAX));
  Vector sums[kWanted];
  for (Vector& sum : sums) sum = Isa::broadcast(0.0f);
  for (int i = 0; i < kTokenBlock; i += Isa::kWidth) {
    const Vector distance = Isa::subtract(Isa::load(values + i), reference);
    for (int j = 0; j < kWanted; j++) {
      const Vector exponents = Isa::multiply(distance, Isa::broadcast(wanted[j].scale));
      sums[j] = Isa::add(sums[j], power_of_two<Isa>(exponents));
    }
  }
  for (int j = 0; j < kWanted; j++) wanted[j].sums[block] = Isa::sum(sums[j]);
}

template <typename Isa>
void scan_blocks(const RowBlocks& blocks, const BlockSums* wanted, int num_wanted, float* maxima) {
  for (int64_t begin = blocks.begin; begin < blocks.end; begin += kBlocksAtOnce) {
    // The largest values of some blocks first: nothing waits for them then.
    const RowBlocks some = {blocks.row, blocks.vocab_size, begin, std::min(blocks.end, begin + kBlocksAtOnce)};
    for_each_block(some, [&](int64_t block, const float* values) { maxima[block] = largest_of<Isa>(values); });
    for_each_block(some, [&](int64_t block, const float* values) {
      if (num_wanted == 1) sum_block<Isa, 1>(values, maxima[block], wanted, block);
      if (num_wanted == 2) sum_block<Isa, 2>(values, maxima[block], wanted, block);
    });
  }
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
  for_each_block(blocks, [&](int64_t block, const float* values) {
    float* of_block = weights + (block - blocks.begin) * kTokenBlock;
    for (int i = 0; i < kTokenBlock; i += Isa::kWidth) Isa::store(of_block + i, weights_of<Isa>(values + i, weighing));
  });
}

// Appends `first` plus the place of each bit to tokens. Some at a time are written whether there are as many or not: to
// write too many costs less than to guess wrong how many there are. Returns how many there are.
VLLM_LOCAL_INLINE int append_places(uint64_t bits, int32_t first, int32_t* tokens) {
  constexpr uint64_t kNoBit = uint64_t{1} << 63;
  const int count = __builtin_popcountll(bits);
  int done = 0;
  do {
    for (int i = 0; i < kListSlack; i++, bits &= bits - 1) tokens[done + i] = first + __builtin_ctzll(bits | kNoBit);
    done += kListSlack;
  } while (done < count);
  return count;
}

template <typename Isa>
int64_t list_from(const float* row, int64_t vocab_size, const int32_t* blocks, int64_t num_blocks, float value,
                  int32_t* tokens) {
  constexpr int kBits = 64;
  const typename Isa::Vector least = Isa::broadcast(value);
  int64_t count = 0;
  for (int64_t wanted = 0; wanted < num_blocks; wanted++) {
    const RowBlocks one = {row, vocab_size, blocks[wanted], blocks[wanted] + 1};
    for_each_block(one, [&](int64_t block, const float* values) {
      for (int part = 0; part < kTokenBlock; part += kBits) {
        uint64_t bits = 0;
        for (int i = 0; i < kBits; i += Isa::kWidth) {
          bits |= static_cast<uint64_t>(Isa::bits_at_least(Isa::load(values + part + i), least)) << i;
        }
        count += append_places(bits, static_cast<int32_t>(block) * kTokenBlock + part, tokens + count);
      }
    });
  }
  return count;
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
          block_weights<Isa>, list_from<Isa>,    count_above<Isa>};
}

}  // namespace
}  // namespace vllm_local
