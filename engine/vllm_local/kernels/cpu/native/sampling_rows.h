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
// Exponents, the largest first. Where tokens of such an exponent or more have all the mass that top_p keeps, others
// need no look.
constexpr int kNumHeads = 12;
constexpr float kHeadExponents[kNumHeads] = {-5.0f,  -6.0f,  -7.0f,  -8.0f,  -9.0f,  -10.0f,
                                             -11.0f, -12.0f, -13.0f, -14.0f, -15.0f, -16.0f};

// Tokens that are written too many at the end of a list.
constexpr int kListSlack = 4;

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
  // The weights of blocks, kTokenBlock of them each.
  void (*block_weights)(const RowBlocks&, const Weighing&, float* weights);
  // Lists the tokens of some blocks of a row whose values are at least so large. Returns how many there are; kListSlack
  // more may be written.
  int64_t (*list_from)(const float* row, int64_t vocab_size, const int32_t* blocks, int64_t num_blocks, float value,
                       int32_t* tokens);
  // How many values are larger.
  int64_t (*count_above)(const RowBlocks&, float value);
};

void sample(const SampleArguments& arguments, const SamplingKernels& kernels);
void describe(const DescribeArguments& arguments, const SamplingKernels& kernels);

}  // namespace vllm_local
