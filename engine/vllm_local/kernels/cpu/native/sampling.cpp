#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <numeric>
#include <vector>

#include "sampling_rows.h"
#include "thread_pool.h"

namespace vllm_local {
namespace {

// Candidates that are looked at where a row has top_p alone. Where they do not hold the mass that it asks for, all of
// the row is, bin by bin.
constexpr int64_t kFirstCandidates = 80;
// Values beyond the top_k largest that are looked at, since the temperature may round a few of them to the same.
constexpr int64_t kTies = 16;
// One block of so many tells how the mass is spread over exponents, and by so much it may be wrong.
constexpr int64_t kSampledBlocks = 16;
constexpr double kSampleError = 0.02;
// Tokens that are asked at once whether one of them is in a bin.
constexpr int kBinStretch = 32;
// A search for a threshold begins with a step of that size, and ends where it is passed by one in so many too many.
constexpr float kFirstStep = 1.0f;
constexpr int64_t kManyMore = 8;
// Shares of a mass that are this near to each other are not told apart: its sums are rounded.
constexpr double kRounding = 1e-4;

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

// Rows of logits with a few numbers a block each; its memory serves the calling thread's next call too.
struct Rows {
  const float* logits;
  int64_t num_rows;
  int64_t vocab_size;
  int64_t stride;
  int64_t num_blocks;
  std::vector<float> maxima;
  std::vector<float> sums;        // at the temperature that a row is drawn at
  std::vector<float> plain_sums;  // at temperature 1

  void take(const float* all, int64_t count, int64_t width, int64_t distance) {
    logits = all;
    num_rows = count;
    vocab_size = width;
    stride = distance;
    num_blocks = (width + kTokenBlock - 1) / kTokenBlock;
    maxima.resize(count * num_blocks);
    sums.resize(count * num_blocks);
    plain_sums.resize(count * num_blocks);
  }

  const float* row(int64_t index) const { return logits + index * stride; }

  RowBlocks all_blocks(int64_t index) const { return {row(index), vocab_size, 0, num_blocks}; }

  // Calls scan(row, blocks) for all blocks and then finish(row), for each row. A thread takes whole rows, which its caches
  // hold meanwhile; of the rows that are left over, too few for all threads, each scans a share of the blocks.
  template <typename Scan, typename Finish>
  void for_rows(const Scan& scan, const Finish& finish) const {
    std::atomic<int64_t> next{0}, next_left{0};
    int64_t whole = 0;
    parallel([&](int thread, int num_threads) {
      const int64_t end = num_rows - num_rows % num_threads;
      if (thread == 0) whole = end;
      for (int64_t index = next++; index < end; index = next++) {
        scan(index, all_blocks(index));
        finish(index);
      }
      scan_share(end, thread, num_threads, scan);
    });
    if (num_rows - whole == 1) return finish(whole);
    if (num_rows == whole) return;
    parallel([&](int, int) {
      for (int64_t index = whole + next_left++; index < num_rows; index = whole + next_left++) finish(index);
    });
  }

  float* maxima_of(int64_t index) { return maxima.data() + index * num_blocks; }
  float* sums_of(int64_t index) { return sums.data() + index * num_blocks; }
  float* plain_sums_of(int64_t index) { return plain_sums.data() + index * num_blocks; }

  // Calls scan(row, blocks) for a thread's share of the blocks of the last rows.
  template <typename Scan>
  void scan_share(int64_t first_row, int thread, int num_threads, const Scan& scan) const {
    const Share share = share_of((num_rows - first_row) * num_blocks, thread, num_threads);
    for (int64_t begin = share.begin; begin < share.end;) {
      const int64_t row_begin = begin / num_blocks * num_blocks, end = std::min(share.end, row_begin + num_blocks);
      const int64_t index = first_row + begin / num_blocks;
      scan(index, RowBlocks{row(index), vocab_size, begin - row_begin, end - row_begin});
      begin = end;
    }
  }

  // A row's largest value among those of its blocks; NaN or infinity where it holds one of them.
  float find_largest(int64_t index, const SamplingKernels& kernels) {
    const int64_t count = (num_blocks + kTokenBlock - 1) / kTokenBlock;
    static thread_local std::vector<float> above;
    above.resize(count);
    kernels.scan_blocks({maxima_of(index), num_blocks, 0, count}, nullptr, 0, above.data());
    float result = above[0];
    for (float value : above) {
      if (value != value) return value;
      result = std::max(result, value);
    }
    return result;
  }
};

// Runs function(blocks) for each stretch of a row's blocks whose largest values are wanted.
template <typename Wanted, typename Function>
void for_stretches(const RowBlocks& blocks, const float* maxima, const Wanted& wanted, const Function& function) {
  for (int64_t begin = blocks.begin; begin < blocks.end; begin++) {
    int64_t end = begin;
    while (end < blocks.end && wanted(maxima[end])) end++;
    if (end > begin) function(RowBlocks{blocks.row, blocks.vocab_size, begin, end});
    begin = end;
  }
}

// The same for blocks in which a token has an exponent of that size or more.
template <typename Function>
void for_stretches_from(float least_exponent, const RowBlocks& blocks, const float* maxima, const Weighing& weighing,
                        const Function& function) {
  const auto wanted = [&](float value) {
    return (value - weighing.largest) * weighing.scale >= least_exponent;
  };
  for_stretches(blocks, maxima, wanted, function);
}

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

// Takes a row's first largest value.
int64_t take_largest(const RowBlocks& blocks, const float* maxima, float largest) {
  const int64_t block = std::find(maxima, maxima + blocks.end, largest) - maxima;
  return std::find(blocks.row + block * kTokenBlock, blocks.row + blocks.vocab_size, largest) - blocks.row;
}

// Draws from all of a row by inverting its distribution function: a block first, then a token inside it.
int64_t draw_from_all(const RowBlocks& blocks, const Weighing& weighing, const float* sums, double uniform,
                      const SamplingKernels& kernels) {
  const int64_t block = pick(sums, blocks.end, &uniform);
  float weights[kTokenBlock];
  kernels.block_weights({blocks.row, blocks.vocab_size, block, block + 1}, weighing, weights);
  return block * kTokenBlock + pick(weights, kTokenBlock, &uniform);
}

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

// Weights of candidates under top_k and top_p, 0 where a filter drops them. Returns whether they suffice.
bool filter(const std::vector<Candidate>& candidates, const SamplingRow& row, const Weighing& weighing, double mass,
            bool is_all, std::vector<double>* weights) {
  const bool limited = row.top_k > 0;
  float least = weighing.least;
  if (limited) {
    const size_t last = std::min<size_t>(row.top_k, candidates.size()) - 1;
    least = std::max(least, exponent_of(candidates[last], weighing));
  }
  const double sum = weigh(candidates, weighing, least, weights);
  if (row.top_p >= 1.0) return true;
  const double needed = row.top_p * (limited ? sum : mass);
  drop_tail(0.0, needed, weights);
  return limited || is_all || sum >= needed;
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

// Which of the kHeadExponents is likely the first whose tokens have a mass, or kNumHeads: of the best tokens it is known
// what they have, of the others a sample of the blocks tells.
int likely_head(const Drawing& drawing, double mass, const std::vector<Candidate>& best, const SamplingKernels& kernels) {
  double heads[kNumHeads] = {};
  for (int64_t block = 0; block < drawing.blocks.end; block += kSampledBlocks) {
    kernels.add_heads({drawing.blocks.row, drawing.blocks.vocab_size, block, block + 1}, drawing.weighing, heads);
  }
  for (double& head : heads) head *= kSampledBlocks;
  for (const Candidate& candidate : best) {
    const float exponent = exponent_of(candidate, drawing.weighing);
    const bool is_sampled = candidate.token / kTokenBlock % kSampledBlocks == 0;
    if (exponent < drawing.weighing.least) continue;
    const double weight = std::exp2(static_cast<double>(exponent)) * (is_sampled ? 1 - kSampledBlocks : 1);
    for (int head = 0; head < kNumHeads; head++) heads[head] += exponent >= kHeadExponents[head] ? weight : 0.0;
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

// Draws where many tokens share the mass that top_p asks for. Only two bins have to be sorted: the one in which the mass
// is reached, and the one that is drawn.
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

int64_t draw_filtered(const Drawing& drawing, const SamplingRow& row, double uniform, BestOfRow* best,
                      const SamplingKernels& kernels) {
  static thread_local std::vector<double> weights;
  const int64_t count = row.top_k > 0 ? row.top_k + kTies : kFirstCandidates;
  const std::vector<Candidate>& candidates = best->first(drawing.weighing.largest, count);
  if (!filter(candidates, row, drawing.weighing, drawing.mass, count >= drawing.blocks.vocab_size, &weights)) {
    return draw_from_bins(drawing, row.top_p, uniform, candidates, kernels);
  }
  return candidates[pick(weights.data(), static_cast<int64_t>(weights.size()), &uniform)].token;
}

bool draws(const SamplingRow& row) { return row.temperature > 0.0f; }

bool is_filtered(const SamplingRow& row) { return row.top_k > 0 || row.top_p < 1.0; }

// Whether the sums of a row's blocks are needed.
bool needs_sums(const SamplingRow& row) { return draws(row) && row.top_k == 0; }

// Whether tokens below a share of the most probable one are dropped: which, is known once a row's largest value is.
bool has_min_p(const SamplingRow& row) { return row.log_min_p * kLog2E > kLeastExponent; }

float scale_of(const SamplingRow& row) { return std::min(kLog2E / row.temperature, FLT_MAX); }

Weighing weighing_of(const SamplingRow& row, float largest) {
  return {largest, scale_of(row), std::max(row.log_min_p * kLog2E, kLeastExponent)};
}

// Makes what a scan found of a row's sums, or what it could not know, into the sums of its weights.
void finish_sums(const RowBlocks& blocks, const float* maxima, const Weighing& weighing, const SamplingKernels& kernels,
                 float* sums) {
  if (weighing.least == kLeastExponent) return kernels.rescale_sums(maxima, blocks.end, weighing, sums);
  std::fill(sums, sums + blocks.end, 0.0f);
  for_stretches_from(weighing.least, blocks, maxima, weighing,
                     [&](const RowBlocks& stretch) { kernels.block_sums(stretch, weighing, sums); });
}

int64_t sample_row(Rows* rows, int64_t index, const SampleArguments& arguments, BestOfRow* best,
                   const SamplingKernels& kernels) {
  const SamplingRow& row = arguments.rows[index];
  const RowBlocks blocks = rows->all_blocks(index);
  const float* maxima = rows->maxima_of(index);
  const float largest = arguments.largest[index] = rows->find_largest(index, kernels);
  if (!std::isfinite(largest)) return 0;
  if (!draws(row)) return take_largest(blocks, maxima, largest);
  float* sums = rows->sums_of(index);
  Drawing drawing = {blocks, maxima, weighing_of(row, largest), 0.0};
  if (needs_sums(row)) finish_sums(blocks, maxima, drawing.weighing, kernels, sums);
  const double uniform = arguments.uniforms[index];
  if (!is_filtered(row)) return draw_from_all(blocks, drawing.weighing, sums, uniform, kernels);
  if (needs_sums(row)) drawing.mass = sum_of(sums, rows->num_blocks);
  return draw_filtered(drawing, row, uniform, best, kernels);
}

// The largest value of a row, its most probable tokens, and the logarithm of its mass.
double describe_row(Rows* rows, int64_t index, float largest, int64_t place, const DescribeArguments& arguments,
                    BestOfRow* best, const SamplingKernels& kernels) {
  arguments.largest[place] = largest;
  if (!std::isfinite(largest)) return 0.0;
  float* sums = rows->plain_sums_of(index);
  const Weighing weighing = {largest, kLog2E, kLeastExponent};
  finish_sums(rows->all_blocks(index), rows->maxima_of(index), weighing, kernels, sums);
  const double log_mass = std::log(sum_of(sums, rows->num_blocks));
  const int64_t count = std::min(arguments.num_top[place], rows->vocab_size), first = place * arguments.top_stride;
  const std::vector<Candidate>& candidates = best->first(largest, count);
  for (int64_t i = 0; i < count; i++) {
    arguments.top_token_ids[first + i] = candidates[i].token;
    arguments.top_logprobs[first + i] = static_cast<double>(candidates[i].value - largest) - log_mass;
  }
  return log_mass;
}

// How many tokens are more probable than each of the queries'.
void rank(Rows* rows, const int64_t* described_rows, const DescribeArguments& arguments,
          const SamplingKernels& kernels) {
  const int64_t num_parts = arguments.num_queries * rows->num_blocks;
  std::vector<std::atomic<int64_t>> above(arguments.num_queries);
  parallel([&](int thread, int num_threads) {
    const Share share = share_of(num_parts, thread, num_threads);
    for (int64_t begin = share.begin; begin < share.end;) {
      const int64_t query = begin / rows->num_blocks, start = query * rows->num_blocks;
      const int64_t end = std::min(share.end, start + rows->num_blocks);
      const int64_t index = described_rows[arguments.query_rows[query]];
      const float* row = rows->row(index);
      const float value = row[arguments.query_token_ids[query]];
      int64_t count = 0;
      for_stretches(
          {row, rows->vocab_size, begin - start, end - start}, rows->maxima_of(index),
          [&](float largest) { return largest > value; },
          [&](const RowBlocks& blocks) { count += kernels.count_above(blocks, value); });
      above[query] += count;
      begin = end;
    }
  });
  for (int64_t query = 0; query < arguments.num_queries; query++) arguments.query_ranks[query] = above[query] + 1;
}

void answer_queries(Rows* rows, const int64_t* described_rows, const DescribeArguments& arguments,
                    const double* log_masses, const SamplingKernels& kernels) {
  for (int64_t query = 0; query < arguments.num_queries; query++) {
    const int64_t place = arguments.query_rows[query];
    const float value = rows->row(described_rows[place])[arguments.query_token_ids[query]];
    arguments.query_logprobs[query] = static_cast<double>(value - arguments.largest[place]) - log_masses[place];
  }
  rank(rows, described_rows, arguments, kernels);
}

Rows& rows_of_this_thread() {
  static thread_local Rows rows;
  return rows;
}

constexpr int64_t kNotDescribed = -1;

// Each row's place in a description, or kNotDescribed.
std::vector<int64_t> places_of_rows(const SampleArguments& arguments) {
  std::vector<int64_t> places(arguments.num_rows, kNotDescribed);
  if (arguments.description == nullptr) return places;
  for (int64_t i = 0; i < arguments.description->num_rows; i++) places[arguments.described_rows[i]] = i;
  return places;
}

// Whether a row is drawn at the temperature that it is described at.
bool shares_sums(const SamplingRow& row, int64_t place) { return row.temperature == 1.0f && place != kNotDescribed; }

}  // namespace

void sample(const SampleArguments& arguments, const SamplingKernels& kernels) {
  Rows& rows = rows_of_this_thread();
  rows.take(arguments.logits, arguments.num_rows, arguments.vocab_size, arguments.stride);
  const std::vector<int64_t> places = places_of_rows(arguments);
  const auto scan = [&](int64_t index, const RowBlocks& blocks) {
    const SamplingRow& row = arguments.rows[index];
    BlockSums wanted[2];
    int num_wanted = 0;
    if (places[index] != kNotDescribed) wanted[num_wanted++] = {kLog2E, rows.plain_sums_of(index)};
    if (needs_sums(row) && !has_min_p(row) && !shares_sums(row, places[index])) {
      wanted[num_wanted++] = {scale_of(row), rows.sums_of(index)};
    }
    kernels.scan_blocks(blocks, wanted, num_wanted, rows.maxima_of(index));
  };
  std::vector<double> log_masses(arguments.num_rows);
  rows.for_rows(scan, [&](int64_t index) {
    BestOfRow best(rows.all_blocks(index), rows.maxima_of(index), kernels);
    if (shares_sums(arguments.rows[index], places[index])) {
      std::copy_n(rows.plain_sums_of(index), rows.num_blocks, rows.sums_of(index));
    }
    arguments.token_ids[index] = sample_row(&rows, index, arguments, &best, kernels);
    const int64_t place = places[index];
    if (place == kNotDescribed) return;
    const DescribeArguments& description = *arguments.description;
    description.query_token_ids[place] = arguments.token_ids[index];
    log_masses[place] = describe_row(&rows, index, arguments.largest[index], place, description, &best, kernels);
  });
  if (arguments.description == nullptr) return;
  answer_queries(&rows, arguments.described_rows, *arguments.description, log_masses.data(), kernels);
}

void describe(const DescribeArguments& arguments, const SamplingKernels& kernels) {
  Rows& rows = rows_of_this_thread();
  rows.take(arguments.logits, arguments.num_rows, arguments.vocab_size, arguments.stride);
  const auto scan = [&](int64_t index, const RowBlocks& blocks) {
    const BlockSums wanted = {kLog2E, rows.plain_sums_of(index)};
    kernels.scan_blocks(blocks, &wanted, 1, rows.maxima_of(index));
  };
  std::vector<int64_t> every(arguments.num_rows);
  std::iota(every.begin(), every.end(), 0);
  std::vector<double> log_masses(arguments.num_rows);
  rows.for_rows(scan, [&](int64_t index) {
    BestOfRow best(rows.all_blocks(index), rows.maxima_of(index), kernels);
    const float largest = rows.find_largest(index, kernels);
    log_masses[index] = describe_row(&rows, index, largest, index, arguments, &best, kernels);
  });
  answer_queries(&rows, every.data(), arguments, log_masses.data(), kernels);
}

}  // namespace vllm_local
