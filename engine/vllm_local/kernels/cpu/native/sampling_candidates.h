// The most probable tokens of a row, and what they weigh.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "sampling_rows.h"

namespace vllm_local {
namespace {

// A search for a threshold begins with a step of that size, and ends where it is passed by one in so many too many.
constexpr float kFirstStep = 1.0f;
constexpr int64_t kManyMore = 8;

struct Candidate {
  float value;
  int32_t token;
};

// By falling value, and rising token among equals.
bool comes_first(const Candidate& a, const Candidate& b) {
  return a.value > b.value || (a.value == b.value && a.token < b.token);
}

// Best first. Equal logits come in that order already, and there may be many of them.
void sort(std::vector<Candidate>* candidates) {
  if (std::is_sorted(candidates->begin(), candidates->end(), comes_first)) return;
  std::sort(candidates->begin(), candidates->end(), comes_first);
}

// A number that `count` or somewhat more of the values have or exceed, found by halving; the largest value is finite.
float threshold_of(const float* values, int64_t num_values, float largest, int64_t count,
                   const SamplingKernels& kernels) {
  if (count >= num_values) return -INFINITY;
  const RowBlocks all = {values, num_values, 0, (num_values + kTokenBlock - 1) / kTokenBlock};
  const auto enough = [&](float value) {
    return kernels.count_above(all, std::nextafter(value, -INFINITY)) - count;
  };
  float above = largest, below = largest, step = kFirstStep;
  int64_t more = enough(below);
  for (; more < 0 && below > -INFINITY; step *= 2) {
    above = below;
    below -= step;
    more = enough(below);
  }
  while (more > count / kManyMore) {
    const float middle = below + (above - below) / 2;
    if (!(middle > below && middle < above)) break;
    const int64_t found = enough(middle);
    (found < 0 ? above : below) = middle;
    if (found >= 0) more = found;
  }
  return below;
}

// Lists the tokens whose values are at least so large. Returns how many there are; there is room for all, and more.
int64_t list_from(float value, const RowBlocks& blocks, const float* maxima, const SamplingKernels& kernels,
                  std::vector<int32_t>* tokens) {
  static thread_local std::vector<int32_t> wanted;
  wanted.resize(blocks.end);
  tokens->resize(blocks.end * kTokenBlock + kListSlack);
  int64_t num_wanted = 0;
  for (int64_t block = 0; block < blocks.end; block++) {
    wanted[num_wanted] = static_cast<int32_t>(block);
    num_wanted += maxima[block] >= value ? 1 : 0;
  }
  int64_t count = kernels.list_from(blocks.row, blocks.vocab_size, wanted.data(), num_wanted, value, tokens->data());
  // The last block is filled up with impossible tokens.
  while (count > 0 && (*tokens)[count - 1] >= blocks.vocab_size) count--;
  return count;
}

// The `count` largest values of a row, all that equal the last of them, and maybe more; best first.
void collect(const RowBlocks& blocks, const float* maxima, float largest, int64_t count,
             const SamplingKernels& kernels, std::vector<Candidate>* candidates) {
  static thread_local std::vector<int32_t> tokens;
  // So many blocks have a value of the threshold's size, one each; or else so many tokens.
  const bool by_blocks = count <= blocks.end;
  const float threshold = by_blocks ? threshold_of(maxima, blocks.end, largest, count, kernels)
                                    : threshold_of(blocks.row, blocks.vocab_size, largest, count, kernels);
  const int64_t found = list_from(threshold, blocks, maxima, kernels, &tokens);
  candidates->clear();
  for (int64_t i = 0; i < found; i++) candidates->push_back({blocks.row[tokens[i]], tokens[i]});
  sort(candidates);
}

// The largest values of a row, looked up once for all who need some.
class BestOfRow {
 public:
  BestOfRow(const RowBlocks& blocks, const float* maxima, const SamplingKernels& kernels)
      : blocks_(blocks), maxima_(maxima), kernels_(kernels) {}

  // The `count` largest values of the row, and maybe more, best first; they last until the thread looks at another row.
  const std::vector<Candidate>& first(float largest, int64_t count) {
    static thread_local std::vector<Candidate> candidates;
    if (count > count_) collect(blocks_, maxima_, largest, count_ = count, kernels_, &candidates);
    return candidates;
  }

 private:
  const RowBlocks blocks_;
  const float* maxima_;
  const SamplingKernels& kernels_;
  int64_t count_ = 0;
};

float exponent_of(const Candidate& candidate, const Weighing& weighing) {
  return (candidate.value - weighing.largest) * weighing.scale;
}

// Writes the weights of candidates, 0 where the exponent is less than `least`; returns their sum.
double weigh(const std::vector<Candidate>& candidates, const Weighing& weighing, float least,
             std::vector<double>* weights) {
  weights->resize(candidates.size());
  double sum = 0.0;
  for (size_t i = 0; i < candidates.size(); i++) {
    const float exponent = exponent_of(candidates[i], weighing);
    (*weights)[i] = exponent >= least ? std::exp2(static_cast<double>(exponent)) : 0.0;
    sum += (*weights)[i];
  }
  return sum;
}

// Drops what comes after the mass that is needed; `before` is the mass of what comes before the first weight.
void drop_tail(double before, double needed, std::vector<double>* weights) {
  for (double& weight : *weights) {
    const double after = before + weight;
    if (before >= needed) weight = 0.0;
    before = after;
  }
}

}  // namespace
}  // namespace vllm_local
