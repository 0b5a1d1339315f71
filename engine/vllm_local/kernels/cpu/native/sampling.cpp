#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <numeric>
#include <vector>

#include "sampling_bins.h"
#include "sampling_candidates.h"
#include "sampling_rows.h"
#include "thread_pool.h"

namespace vllm_local {
namespace {

// Candidates that are looked at where a row has top_p alone. Where they do not hold the mass that it asks for, all of
// the row is, bin by bin.
constexpr int64_t kFirstCandidates = 80;
// Values beyond the top_k largest that are looked at, since the temperature may round a few of them to the same.
constexpr int64_t kTies = 16;

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

  // Calls scan(row, blocks) for all blocks and then finish(row), for each row. A thread takes whole rows, which its
  // caches hold meanwhile; of the rows that are left over, too few for all threads, each scans a share of the blocks.
  template <typename Scan, typename Finish>
  void for_rows(const Scan& scan, const Finish& finish) const {
    const int64_t whole = num_rows - num_rows % num_threads();
    std::atomic<int64_t> next{0}, next_left{whole};
    parallel([&](int thread, int num_threads) {
      for (int64_t index = next++; index < whole; index = next++) {
        scan(index, all_blocks(index));
        finish(index);
      }
      scan_share(whole, thread, num_threads, scan);
    });
    if (num_rows - whole == 1) return finish(whole);
    if (num_rows == whole) return;
    parallel([&](int, int) {
      for (int64_t index = next_left++; index < num_rows; index = next_left++) finish(index);
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
  const auto counts = [&](float value) { return (value - weighing.largest) * weighing.scale >= weighing.least; };
  for_stretches(blocks, maxima, counts, [&](const RowBlocks& stretch) { kernels.block_sums(stretch, weighing, sums); });
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
