#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
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

// Rows of logits with a number a block each; its memory serves the calling thread's next call too.
struct Rows {
  const float* logits;
  int64_t num_rows;
  int64_t vocab_size;
  int64_t stride;
  const int64_t* indices;  // which of the rows of logits, or null for all
  int64_t num_blocks;
  std::vector<float> maxima;
  std::vector<float> sums;
  std::vector<float> heads;
  std::vector<float> largest;

  void take(const float* all, int64_t count, int64_t width, int64_t distance, const int64_t* chosen) {
    logits = all;
    num_rows = count;
    vocab_size = width;
    stride = distance;
    indices = chosen;
    num_blocks = (width + kTokenBlock - 1) / kTokenBlock;
    maxima.resize(count * num_blocks);
    sums.resize(count * num_blocks);
    largest.resize(count);
  }

  const float* row(int64_t index) const { return logits + (indices == nullptr ? index : indices[index]) * stride; }

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
  float* heads_of(int64_t index) { return heads.data() + index * num_blocks * kNumHeads; }

  void find_maxima(const SamplingKernels& kernels) {
    for_blocks([&](int64_t index, const RowBlocks& blocks) { kernels.block_maxima(blocks, maxima_of(index)); });
  }

  // Every thread that needs a row's largest value finds it among the blocks' anew: that is cheaper than to wait.
  float find_largest(int64_t index, const SamplingKernels& kernels) {
    const int64_t count = (num_blocks + kTokenBlock - 1) / kTokenBlock;
    static thread_local std::vector<float> above;
    above.resize(count);
    kernels.block_maxima({maxima_of(index), num_blocks, 0, count}, above.data());
    float result = above[0];
    for (float value : above) {
      if (value != value) return value;
      result = std::max(result, value);
    }
    return result;
  }
};

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
  return (candidate.value - weighing.largest) * weighing.inverse_temperature;
}

// Writes the weights of candidates, 0 where the exponent is less than `least`; returns their sum.
double weigh(const std::vector<Candidate>& candidates, const Weighing& weighing, float least,
             std::vector<double>* weights) {
  weights->resize(candidates.size());
  double sum = 0.0;
  for (size_t i = 0; i < candidates.size(); i++) {
    const float exponent = exponent_of(candidates[i], weighing);
    (*weights)[i] = exponent >= least ? std::exp(static_cast<double>(exponent)) : 0.0;
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

// The candidates of one bin, best first, and their weights.
void collect_bin(const RowBlocks& blocks, const Weighing& weighing, const uint16_t* bins, int bin,
                 std::vector<Candidate>* candidates, std::vector<double>* weights) {
  candidates->clear();
  for (int64_t begin = 0; begin < blocks.vocab_size; begin += kTokenBlock) {
    // Most blocks have none, which compilers find out many tokens at a time.
    int found = 0;
    for (int i = 0; i < kTokenBlock; i++) found |= bins[begin + i] == bin;
    if (found == 0) continue;
    const int64_t end = std::min(blocks.vocab_size, begin + kTokenBlock);
    for (int64_t token = begin; token < end; token++) {
      if (bins[token] == bin) candidates->push_back({blocks.row[token], static_cast<int32_t>(token)});
    }
  }
  sort(candidates);
  weigh(*candidates, weighing, weighing.least, weights);
}

// An exponent that is smaller than that of any token that top_p keeps: one whose head has the mass that it asks for; else
// one so small that, even if all tokens had it, they would have less mass together than top_p leaves out.
float least_exponent_kept(const RowBlocks& blocks, double top_p, double mass, const float* heads) {
  for (int head = 0; head < kNumHeads; head++) {
    double in_head = 0.0;
    for (int64_t block = 0; block < blocks.end; block++) in_head += heads[block * kNumHeads + head];
    if (in_head > (top_p + kRounding) * mass) return kHeadExponents[head];
  }
  const double exponent = std::log((1.0 - top_p) * mass / static_cast<double>(blocks.vocab_size));
  return std::max(kLeastExponent, std::min(-1.0f, static_cast<float>(exponent)));
}

// Writes each token's bin and each bin's mass.
void fill_bins(const RowBlocks& blocks, const Weighing& weighing, float least_exponent,
               const SamplingKernels& kernels, uint16_t* bins, double* masses) {
  double sums[kExponentBins * kBinSums] = {};
  kernels.fill_bins(blocks, weighing, least_exponent, sums, bins);
  for (int bin = 0; bin < kExponentBins; bin++) masses[bin] = sum_of(sums + bin * kBinSums, kBinSums);
}

// Draws where many tokens share the mass that top_p asks for. Bins of exponents lie in the order of the tokens, so only
// two of them have to be sorted: the one in which the mass is reached, and the one that is drawn.
int64_t draw_from_bins(const RowBlocks& blocks, const Weighing& weighing, double top_p, double mass, const float* heads,
                       double uniform, const SamplingKernels& kernels) {
  static thread_local std::vector<Candidate> candidates;
  static thread_local std::vector<double> weights;
  static thread_local std::vector<uint16_t> bins;
  double masses[kExponentBins];
  bins.resize(blocks.end * kTokenBlock);
  const double needed = top_p * mass;
  const float least_exponent = least_exponent_kept(blocks, top_p, mass, heads);
  fill_bins(blocks, weighing, least_exponent, kernels, bins.data(), masses);
  double before = 0.0;
  int last = 0;
  for (; last + 1 < kExponentBins && before + masses[last] < needed; last++) before += masses[last];
  collect_bin(blocks, weighing, bins.data(), last, &candidates, &weights);
  drop_tail(before, needed, &weights);
  masses[last] = sum_of(weights.data(), static_cast<int64_t>(weights.size()));
  const int bin = static_cast<int>(pick(masses, last + 1, &uniform));
  if (bin != last) collect_bin(blocks, weighing, bins.data(), bin, &candidates, &weights);
  return candidates[pick(weights.data(), static_cast<int64_t>(weights.size()), &uniform)].token;
}

int64_t draw_filtered(const RowBlocks& blocks, const SamplingRow& row, const Weighing& weighing, const float* maxima,
                      double mass, const float* heads, double uniform, const SamplingKernels& kernels) {
  static thread_local std::vector<Candidate> candidates;
  static thread_local std::vector<double> weights;
  const int64_t count = row.top_k > 0 ? row.top_k + kTies : kFirstCandidates;
  collect(blocks, maxima, count, &candidates);
  if (!filter(candidates, row, weighing, mass, count >= blocks.vocab_size, &weights)) {
    return draw_from_bins(blocks, weighing, row.top_p, mass, heads, uniform, kernels);
  }
  return candidates[pick(weights.data(), static_cast<int64_t>(weights.size()), &uniform)].token;
}

bool draws(const SamplingRow& row) { return row.temperature > 0.0f; }

bool is_filtered(const SamplingRow& row) { return row.top_k > 0 || row.top_p < 1.0; }

// Whether the row's whole mass is needed, which takes a pass over it.
bool needs_sums(const SamplingRow& row) { return draws(row) && row.top_k == 0; }

Weighing weighing_of(const SamplingRow& row, float largest) {
  return {largest, std::min(1.0f / row.temperature, FLT_MAX), std::max(row.log_min_p, kLeastExponent)};
}

int64_t sample_row(Rows* rows, int64_t index, const SampleArguments& arguments, const SamplingKernels& kernels) {
  const SamplingRow& row = arguments.rows[index];
  const RowBlocks blocks = rows->all_blocks(index);
  const float* maxima = rows->maxima_of(index);
  const float largest = arguments.largest[index] = rows->find_largest(index, kernels);
  if (!std::isfinite(largest)) return 0;
  if (!draws(row)) return take_largest(blocks, maxima, largest);
  const Weighing weighing = weighing_of(row, largest);
  const float* sums = rows->sums_of(index);
  const double uniform = arguments.uniforms[index];
  if (!is_filtered(row)) return draw_from_all(blocks, weighing, sums, uniform, kernels);
  const double mass = needs_sums(row) ? sum_of(sums, rows->num_blocks) : 0.0;
  return draw_filtered(blocks, row, weighing, maxima, mass, rows->heads_of(index), uniform, kernels);
}

// The most probable tokens of a row.
void list_top(Rows* rows, int64_t index, const DescribeArguments& arguments, float largest, double log_mass) {
  static thread_local std::vector<Candidate> candidates;
  const int64_t count = std::min(arguments.num_top[index], rows->vocab_size);
  if (count == 0) return;
  collect(rows->all_blocks(index), rows->maxima_of(index), count, &candidates);
  for (int64_t i = 0; i < count; i++) {
    const int64_t place = index * arguments.top_stride + i;
    arguments.top_token_ids[place] = candidates[i].token;
    arguments.top_logprobs[place] = static_cast<double>(candidates[i].value - largest) - log_mass;
  }
}

// How many tokens are more probable than each of the queries'.
void rank(Rows& rows, const DescribeArguments& arguments, const SamplingKernels& kernels) {
  const int64_t num_parts = arguments.num_queries * rows.num_blocks;
  std::vector<std::atomic<int64_t>> above(arguments.num_queries);
  parallel([&](int thread, int num_threads) {
    const Share share = share_of(num_parts, thread, num_threads);
    for (int64_t begin = share.begin; begin < share.end;) {
      const int64_t query = begin / rows.num_blocks, start = query * rows.num_blocks;
      const int64_t end = std::min(share.end, start + rows.num_blocks);
      const float* row = rows.row(arguments.query_rows[query]);
      const float value = row[arguments.query_token_ids[query]];
      const float* maxima = rows.maxima_of(arguments.query_rows[query]);
      // Only blocks whose largest value is above have any.
      int64_t count = 0;
      for (int64_t block = begin - start; block < end - start;) {
        int64_t next = block;
        while (next < end - start && maxima[next] > value) next++;
        if (next > block) count += kernels.count_above({row, rows.vocab_size, block, next}, value);
        block = next + 1;
      }
      above[query] += count;
      begin = end;
    }
  });
  for (int64_t query = 0; query < arguments.num_queries; query++) arguments.query_ranks[query] = above[query] + 1;
}

Rows& rows_of_this_thread() {
  static thread_local Rows rows;
  return rows;
}

}  // namespace

void sample(const SampleArguments& arguments, const SamplingKernels& kernels) {
  Rows& rows = rows_of_this_thread();
  rows.take(arguments.logits, arguments.num_rows, arguments.vocab_size, arguments.stride, nullptr);
  rows.heads.resize(rows.num_rows * rows.num_blocks * kNumHeads);
  rows.find_maxima(kernels);
  if (std::any_of(arguments.rows, arguments.rows + arguments.num_rows, needs_sums)) {
    rows.for_blocks([&](int64_t index, const RowBlocks& blocks) {
      const SamplingRow& row = arguments.rows[index];
      if (!needs_sums(row)) return;
      const Weighing weighing = weighing_of(row, rows.find_largest(index, kernels));
      if (row.top_p < 1.0) {
        kernels.block_heads(blocks, weighing, rows.sums_of(index), rows.heads_of(index));
      } else {
        kernels.block_sums(blocks, weighing, rows.sums_of(index));
      }
    });
  }
  rows.for_rows([&](int64_t index) { arguments.token_ids[index] = sample_row(&rows, index, arguments, kernels); });
}

void describe(const DescribeArguments& arguments, const SamplingKernels& kernels) {
  Rows& rows = rows_of_this_thread();
  rows.take(arguments.logits, arguments.num_rows, arguments.vocab_size, arguments.stride, arguments.row_indices);
  rows.find_maxima(kernels);
  const auto weighing = [&](int64_t index) {
    return Weighing{rows.find_largest(index, kernels), 1.0f, kLeastExponent};
  };
  rows.for_blocks([&](int64_t index, const RowBlocks& blocks) {
    kernels.block_sums(blocks, weighing(index), rows.sums_of(index));
  });
  static thread_local std::vector<double> log_masses;
  log_masses.resize(arguments.num_rows);
  double* const masses = log_masses.data();  // the threads below have a log_masses of their own
  rows.for_rows([&](int64_t index) {
    const float largest = arguments.largest[index] = rows.find_largest(index, kernels);
    masses[index] = std::log(sum_of(rows.sums_of(index), rows.num_blocks));
    if (std::isfinite(largest)) list_top(&rows, index, arguments, largest, masses[index]);
  });
  for (int64_t query = 0; query < arguments.num_queries; query++) {
    const int64_t index = arguments.query_rows[query];
    const float value = rows.row(index)[arguments.query_token_ids[query]];
    arguments.query_logprobs[query] = static_cast<double>(value - arguments.largest[index]) - masses[index];
  }
  rank(rows, arguments, kernels);
}

}  // namespace vllm_local
