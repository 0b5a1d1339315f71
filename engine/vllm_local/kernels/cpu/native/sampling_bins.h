// Tokens in bins of equal exponents: how a row is drawn from where many tokens share the mass that top_p asks for.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "sampling_candidates.h"
#include "sampling_rows.h"

namespace vllm_local {
namespace {

// Bins of equal width that exponents fall into, the largest ones first.
constexpr int kExponentBins = 1024;
// What fills up a list of bins.
constexpr uint16_t kNoBin = kExponentBins;
// Sums that a bin has, for neighbouring tokens to add to: many are in the same bin, and none should wait for another.
constexpr int kBinSums = 4;
// One block of so many tells how the mass is spread over exponents, and by so much it may be wrong.
constexpr int64_t kSampledBlocks = 16;
constexpr double kSampleError = 0.02;
// Tokens that are asked at once whether one of them is in a bin.
constexpr int kBinStretch = 32;
// Shares of a mass that are this near to each other are not told apart: its sums are rounded.
constexpr double kRounding = 1e-4;

template <typename Number>
double sum_of(const Number* numbers, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; i++) sum += numbers[i];
  return sum;
}

// Picks an index with probability proportional to its weight; `uniform` becomes what is left of it.
template <typename Number>
int64_t pick(const Number* weights, int64_t count, double* uniform) {
  double total = 0.0;
  for (int64_t i = 0; i < count; i++) total += weights[i];
  const double target = *uniform * total;
  double cumulative = 0.0;
  int64_t index = 0;
  for (; index < count; index++) {
    const double next = cumulative + weights[index];
    // The second condition only matters where rounding lifts the target to the total.
    if (next > target || next >= total) break;
    cumulative = next;
  }
  *uniform = std::min(1.0, std::max(0.0, (target - cumulative) / static_cast<double>(weights[index])));
  return index;
}

// What a row is drawn from.
struct Drawing {
  RowBlocks blocks;
  const float* maxima;
  Weighing weighing;
  double mass;
};

// Tokens whose exponents are large enough, each in a bin, and each bin's mass; bins lie in the order of the tokens.
class Bins {
 public:
  // Takes in the tokens from an exponent up. Returns their mass.
  double fill(const Drawing& drawing, float least_exponent, const SamplingKernels& kernels) {
    const Weighing& weighing = drawing.weighing;
    const float value = weighing.largest + least_exponent / weighing.scale;
    count_ = list_from(value, drawing.blocks, drawing.maxima, kernels, &tokens_);
    const int64_t num_blocks = (count_ + kTokenBlock - 1) / kTokenBlock;
    values_.resize(tokens_.size());
    weights_.resize(tokens_.size());
    bins_.resize(tokens_.size() + kBinStretch);
    for (int64_t i = 0; i < count_; i++) values_[i] = drawing.blocks.row[tokens_[i]];
    kernels.block_weights({values_.data(), count_, 0, num_blocks}, weighing, weights_.data());
    find_bins(weighing, least_exponent);
    double sums[kExponentBins * kBinSums] = {};
    for (int64_t i = 0; i < count_; i++) sums[bins_[i] * kBinSums + i % kBinSums] += weights_[i];
    for (int bin = 0; bin < kExponentBins; bin++) masses[bin] = sum_of(sums + bin * kBinSums, kBinSums);
    return sum_of(masses, kExponentBins);
  }

  // The candidates of one bin, best first, and their weights.
  void collect(int bin, const Weighing& weighing, std::vector<Candidate>* candidates,
               std::vector<double>* weights) const {
    candidates->clear();
    for (int64_t begin = 0; begin < count_; begin += kBinStretch) {
      const uint16_t* bins = bins_.data() + begin;
      // Most stretches have none, which compilers find out many tokens at a time.
      uint16_t found = 0;
      for (int i = 0; i < kBinStretch; i++) found |= bins[i] == static_cast<uint16_t>(bin) ? 1 : 0;
      if (found == 0) continue;
      for (int64_t i = begin; i < begin + kBinStretch; i++) {
        if (bins_[i] == bin) candidates->push_back({values_[i], tokens_[i]});
      }
    }
    sort(candidates);
    weigh(*candidates, weighing, weighing.least, weights);
  }

  double masses[kExponentBins];

 private:
  // Finds each token's bin, and fills up the last stretch.
  void find_bins(const Weighing& weighing, float least_exponent) {
    const float scale = kExponentBins / least_exponent;
    for (int64_t i = 0; i < count_; i++) {
      const float bin = (values_[i] - weighing.largest) * weighing.scale * scale;
      bins_[i] = static_cast<uint16_t>(static_cast<int32_t>(std::min(bin, kExponentBins - 1.0f)));
    }
    std::fill_n(bins_.begin() + count_, kBinStretch, kNoBin);
  }

  std::vector<int32_t> tokens_;
  std::vector<float> values_;
  std::vector<float> weights_;
  std::vector<uint16_t> bins_;
  int64_t count_ = 0;
};

// Which of the kHeadExponents is likely the first whose tokens have a mass, or kNumHeads: of the best tokens it is
// known what they have, of the others a sample of the blocks tells.
int likely_head(const Drawing& drawing, double mass, const std::vector<Candidate>& best,
                const SamplingKernels& kernels) {
  double heads[kNumHeads] = {};
  for (int64_t block = 0; block < drawing.blocks.end; block += kSampledBlocks) {
    kernels.add_heads({drawing.blocks.row, drawing.blocks.vocab_size, block, block + 1}, drawing.weighing, heads);
  }
  for (double& head : heads) head *= kSampledBlocks;
  static thread_local std::vector<double> weights;
  weigh(best, drawing.weighing, drawing.weighing.least, &weights);
  for (size_t i = 0; i < best.size(); i++) {
    const float exponent = exponent_of(best[i], drawing.weighing);
    const bool is_sampled = best[i].token / kTokenBlock % kSampledBlocks == 0;
    const double missing = weights[i] * (is_sampled ? 1 - kSampledBlocks : 1);
    for (int head = 0; head < kNumHeads; head++) heads[head] += exponent >= kHeadExponents[head] ? missing : 0.0;
  }
  return static_cast<int>(std::find_if(heads, heads + kNumHeads, [&](double head) { return head > mass; }) - heads);
}

// An exponent so small that, even if all tokens had it, they would have less mass together than top_p leaves out.
float least_exponent_kept(const Drawing& drawing, double top_p) {
  const double exponent = std::log2((1.0 - top_p) * drawing.mass / static_cast<double>(drawing.blocks.vocab_size));
  return std::max(kLeastExponent, std::min(-1.0f, static_cast<float>(exponent)));
}

// Fills bins with all tokens that top_p keeps, and not many more.
void fill_with_kept(const Drawing& drawing, double top_p, const std::vector<Candidate>& best,
                    const SamplingKernels& kernels, Bins* bins) {
  const double needed = (top_p + kRounding) * drawing.mass;
  for (int head = likely_head(drawing, needed + kSampleError * drawing.mass, best, kernels); head < kNumHeads; head++) {
    if (bins->fill(drawing, kHeadExponents[head], kernels) > needed) return;
  }
  bins->fill(drawing, least_exponent_kept(drawing, top_p), kernels);
}

// Draws where many tokens share the mass that top_p asks for. Only two bins have to be sorted: the one in which the
// mass is reached, and the one that is drawn.
int64_t draw_from_bins(const Drawing& drawing, double top_p, double uniform, const std::vector<Candidate>& best,
                       const SamplingKernels& kernels) {
  static thread_local Bins bins;
  static thread_local std::vector<Candidate> candidates;
  static thread_local std::vector<double> weights;
  fill_with_kept(drawing, top_p, best, kernels, &bins);
  const double needed = top_p * drawing.mass;
  double before = 0.0;
  int last = 0;
  for (; last + 1 < kExponentBins && before + bins.masses[last] < needed; last++) before += bins.masses[last];
  bins.collect(last, drawing.weighing, &candidates, &weights);
  drop_tail(before, needed, &weights);
  bins.masses[last] = sum_of(weights.data(), static_cast<int64_t>(weights.size()));
  const int bin = static_cast<int>(pick(bins.masses, last + 1, &uniform));
  if (bin != last) bins.collect(bin, drawing.weighing, &candidates, &weights);
  return candidates[pick(weights.data(), static_cast<int64_t>(weights.size()), &uniform)].token;
}

}  // namespace
}  // namespace vllm_local
