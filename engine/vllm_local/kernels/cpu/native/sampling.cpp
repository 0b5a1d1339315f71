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

  // Runs function(row, blocks) on all threads, each with its share of all the rows' blocks.
  template <typename Function>
  void for_blocks(const Function& function) const {
    parallel([&](int thread, int num_threads) {
      const Share share = share_of(num_rows * num_blocks, thread, num_threads);
      for (int64_t begin = share.begin; begin < share.end;) {
        const int64_t index = begin / num_blocks, start = index * num_blocks;
        const int64_t end = std::min(share.end, start + num_blocks);
        function(index, RowBlocks{row(index), vocab_size, begin - start, end - start});
        begin = end;
      }
    });
  }

  // Runs function(row) for each row.
  template <typename Function>
  void for_rows(const Function& function) const {
    if (num_rows == 1) return function(static_cast<int64_t>(0));
    std::atomic<int64_t> next{0};
    parallel([&](int, int) {
      for (int64_t index = next++; index < num_rows; index = next++) function(index);
    });
  }

  float* maxima_of(int64_t index) { return maxima.data() + index * num_blocks; }
  float* sums_of(int64_t index) { return sums.data() + index * num_blocks; }
  float* plain_sums_of(int64_t index) { return plain_sums.data() + index * num_blocks; }

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

// The `count` largest values of a row, all that equal the last of them, and maybe more; best first.
void collect(const RowBlocks& blocks, const float* maxima, int64_t count, std::vector<Candidate>* candidates) {
  static thread_local std::vector<float> sorted;
  candidates->clear();
  const int64_t num_blocks = blocks.end;
  float threshold = -INFINITY;
  if (count <= num_blocks) {
    // So many blocks have a value of that size or more, one each.
    sorted.assign(maxima, maxima + num_blocks);
    std::nth_element(sorted.begin(), sorted.begin() + count - 1, sorted.end(), std::greater<float>());
    threshold = sorted[count - 1];
  } else if (count < blocks.vocab_size) {
    sorted.assign(blocks.row, blocks.row + blocks.vocab_size);
    std::nth_element(sorted.begin(), sorted.begin() + count - 1, sorted.end(), std::greater<float>());
    threshold = sorted[count - 1];
  }
  for (int64_t block = 0; block < num_blocks; block++) {
    if (maxima[block] < threshold) continue;
    const int64_t end = std::min(blocks.vocab_size, (block + 1) * kTokenBlock);
    for (int64_t token = block * kTokenBlock; token < end; token++) {
      const float value = blocks.row[token];
      if (value >= threshold) candidates->push_back({value, static_cast<int32_t>(token)});
    }
  }
  sort(candidates);
}

// The largest values of a row, looked up once for all who need some.
class BestOfRow {
 public:
  BestOfRow(const RowBlocks& blocks, const float* maxima) : blocks_(blocks), maxima_(maxima) {}

  // The `count` largest values of the row, and maybe more, best first; they last until the thread looks at another row.
  const std::vector<Candidate>& first(int64_t count) {
    static thread_local std::vector<Candidate> candidates;
    if (count > count_) collect(blocks_, maxima_, count_ = count, &candidates);
    return candidates;
  }

 private:
  const RowBlocks blocks_;
  const float* maxima_;
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

// The candidates of one bin, best first, and their weights.
void collect_bin(const Drawing& drawing, float least_exponent, const uint16_t* bins, int bin,
                 std::vector<Candidate>* candidates, std::vector<double>* weights) {
  const RowBlocks& row = drawing.blocks;
  candidates->clear();
  for_stretches_from(least_exponent, row, drawing.maxima, drawing.weighing, [&](const RowBlocks& blocks) {
    for (int64_t block = blocks.begin; block < blocks.end; block++) {
      const int64_t begin = block * kTokenBlock, end = std::min(row.vocab_size, begin + kTokenBlock);
      // Most blocks have none, which compilers find out many tokens at a time.
      int found = 0;
      for (int i = 0; i < kTokenBlock; i++) found |= bins[begin + i] == bin;
      if (found == 0) continue;
      for (int64_t token = begin; token < end; token++) {
        if (bins[token] == bin) candidates->push_back({row.row[token], static_cast<int32_t>(token)});
      }
    }
  });
  sort(candidates);
  weigh(*candidates, drawing.weighing, drawing.weighing.least, weights);
}

// An exponent that is smaller than that of any token that top_p keeps: one whose head has the mass that it asks for;
// else one so small that, even if all tokens had it, they would have less mass together than top_p leaves out.
float least_exponent_kept(const Drawing& drawing, double top_p, const SamplingKernels& kernels) {
  double heads[kNumHeads] = {};
  for_stretches_from(kHeadExponents[kNumHeads - 1], drawing.blocks, drawing.maxima, drawing.weighing,
                     [&](const RowBlocks& blocks) { kernels.add_heads(blocks, drawing.weighing, heads); });
  for (int head = 0; head < kNumHeads; head++) {
    if (heads[head] > (top_p + kRounding) * drawing.mass) return kHeadExponents[head];
  }
  const double exponent = std::log2((1.0 - top_p) * drawing.mass / static_cast<double>(drawing.blocks.vocab_size));
  return std::max(kLeastExponent, std::min(-1.0f, static_cast<float>(exponent)));
}

// Writes each token's bin, in blocks that have any, and each bin's mass.
void fill_bins(const Drawing& drawing, float least_exponent, const SamplingKernels& kernels, uint16_t* bins,
               double* masses) {
  double sums[kExponentBins * kBinSums] = {};
  for_stretches_from(least_exponent, drawing.blocks, drawing.maxima, drawing.weighing, [&](const RowBlocks& blocks) {
    kernels.fill_bins(blocks, drawing.weighing, least_exponent, sums, bins + blocks.begin * kTokenBlock);
  });
  for (int bin = 0; bin < kExponentBins; bin++) masses[bin] = sum_of(sums + bin * kBinSums, kBinSums);
}

// Draws where many tokens share the mass that top_p asks for. Bins of exponents lie in the order of the tokens, so only
// two of them have to be sorted: the one in which the mass is reached, and the one that is drawn.
int64_t draw_from_bins(const Drawing& drawing, double top_p, double uniform, const SamplingKernels& kernels) {
  static thread_local std::vector<Candidate> candidates;
  static thread_local std::vector<double> weights;
  static thread_local std::vector<uint16_t> bins;
  double masses[kExponentBins];
  bins.resize(drawing.blocks.end * kTokenBlock);
  const double needed = top_p * drawing.mass;
  const float least_exponent = least_exponent_kept(drawing, top_p, kernels);
  fill_bins(drawing, least_exponent, kernels, bins.data(), masses);
  double before = 0.0;
  int last = 0;
  for (; last + 1 < kExponentBins && before + masses[last] < needed; last++) before += masses[last];
  collect_bin(drawing, least_exponent, bins.data(), last, &candidates, &weights);
  drop_tail(before, needed, &weights);
  masses[last] = sum_of(weights.data(), static_cast<int64_t>(weights.size()));
  const int bin = static_cast<int>(pick(masses, last + 1, &uniform));
  if (bin != last) collect_bin(drawing, least_exponent, bins.data(), bin, &candidates, &weights);
  return candidates[pick(weights.data(), static_cast<int64_t>(weights.size()), &uniform)].token;
}

int64_t draw_filtered(const Drawing& drawing, const SamplingRow& row, double uniform, BestOfRow* best,
                      const SamplingKernels& kernels) {
  static thread_local std::vector<double> weights;
  const int64_t count = row.top_k > 0 ? row.top_k + kTies : kFirstCandidates;
  const std::vector<Candidate>& candidates = best->first(count);
  if (!filter(candidates, row, drawing.weighing, drawing.mass, count >= drawing.blocks.vocab_size, &weights)) {
    return draw_from_bins(drawing, row.top_p, uniform, kernels);
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
  const std::vector<Candidate>& candidates = best->first(count);
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
  rows.for_blocks([&](int64_t index, const RowBlocks& blocks) {
    const SamplingRow& row = arguments.rows[index];
    BlockSums wanted[2];
    int num_wanted = 0;
    if (places[index] != kNotDescribed) wanted[num_wanted++] = {kLog2E, rows.plain_sums_of(index)};
    if (needs_sums(row) && !has_min_p(row) && !shares_sums(row, places[index])) {
      wanted[num_wanted++] = {scale_of(row), rows.sums_of(index)};
    }
    kernels.scan_blocks(blocks, wanted, num_wanted, rows.maxima_of(index));
  });
  std::vector<double> log_masses(arguments.num_rows);
  rows.for_rows([&](int64_t index) {
    BestOfRow best(rows.all_blocks(index), rows.maxima_of(index));
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
  rows.for_blocks([&](int64_t index, const RowBlocks& blocks) {
    const BlockSums wanted = {kLog2E, rows.plain_sums_of(index)};
    kernels.scan_blocks(blocks, &wanted, 1, rows.maxima_of(index));
  });
  std::vector<int64_t> every(arguments.num_rows);
  std::iota(every.begin(), every.end(), 0);
  std::vector<double> log_masses(arguments.num_rows);
  rows.for_rows([&](int64_t index) {
    BestOfRow best(rows.all_blocks(index), rows.maxima_of(index));
    const float largest = rows.find_largest(index, kernels);
    log_masses[index] = describe_row(&rows, index, largest, index, arguments, &best, kernels);
  });
  answer_queries(&rows, every.data(), arguments, log_masses.data(), kernels);
}

}  // namespace vllm_local
