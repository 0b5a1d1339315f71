// Rows of logits seen as blocks of tokens: what sampling needs of an instruction set, and what it makes of that.
#pragma once

#include <stdint.h>

#include "api.h"

namespace vllm_local {

// Tokens of a block.
constexpr int kTokenBlock = 128;
// Exponents are of 2, whose powers take fewer operations than those of e. What is less than this counts as nothing.
constexpr float kLeastExponent = -126.0f;
constexpr float kLog2E = 1.44269504088896341f;
// Bins of equal width that exponents fall into, the largest ones first.
constexpr int kExponentBins = 1024;
// Where a token is whose exponent is too small for any of them.
constexpr uint16_t kNoBin = kExponentBins;
// Sums that a bin has, for neighbouring tokens to add to: many are in the same bin, and none should wait for another.
constexpr int kBinSums = 4;

// Exponents, the largest first, of which it is found out how much mass lies on tokens of that exponent or more: where
// that is all that top_p keeps, it need not look at others.
constexpr int kNumHeads = 3;
constexpr float kHeadExponents[kNumHeads] = {-6.0f, -9.0f, -12.0f};

// Some blocks of one row.
struct RowBlocks {
  const float* row;
  int64_t vocab_size;
  int64_t begin;
  int64_t end;
};

// A token's weight is 2^((logit - largest) * scale), or 0 where the exponent is less than `least`. The scale is that of
// exponents of e, over the temperature: products take less time than quotients.
struct Weighing {
  float largest;
  float scale;
  float least;
};

// Sums of weights that a scan makes, one a block. Weights are relative to the block's own largest value, so that one
// pass over a row is enough.
struct BlockSums {
  float scale;
  float* sums;
};

struct SamplingKernels {
  // Each block's largest value, NaN or infinity where it holds one of them, and as many kinds of sums as are wanted.
  void (*scan_blocks)(const RowBlocks&, const BlockSums* wanted, int num_wanted, float* maxima);
  // Turns a scan's sums of a row into those of weights that are relative to the largest value of the row.
  void (*rescale_sums)(const float* maxima, int64_t num_blocks, const Weighing&, float* sums);
  // Each block's sum of weights.
  void (*block_sums)(const RowBlocks&, const Weighing&, float* sums);
  // Adds up the weights from each of the kHeadExponents up.
  void (*add_heads)(const RowBlocks&, const Weighing&, double* heads);
  // The weights of one block, kTokenBlock of them.
  void (*block_weights)(const RowBlocks&, const Weighing&, float* weights);
  // Adds the weights of tokens whose exponents are at least `least_exponent` to their bins [kExponentBins][kBinSums],
  // and writes each token's bin, kTokenBlock a block.
  void (*fill_bins)(const RowBlocks&, const Weighing&, float least_exponent, double* sums, uint16_t* bins);
  // How many values are larger.
  int64_t (*count_above)(const RowBlocks&, float value);
};

void sample(const SampleArguments& arguments, const SamplingKernels& kernels);
void describe(const DescribeArguments& arguments, const SamplingKernels& kernels);

}  // namespace vllm_local
