// Paged attention over one ragged batch of prefill chunks and decode tokens.
//
// The query heads that share a K and V head, of one token or of neighbouring ones, are the rows of an item of work, so
// that K and V are read once for all of them. What a row computes is the same in any item: softmax runs online over
// blocks of kKeyBlock keys and starts anew every kSegment keys, both counted from position 0; the segments are combined
// in order. Keys that a row must not see add exact zeros.
#pragma once

#include <cmath>
#include <cstring>

#include "api.h"
#include "attention_plan.h"
#include "attention_products.h"
#include "isa.h"
#include "kv_cache.h"

namespace vllm_local {
namespace {

template <typename Value>
VLLM_LOCAL_INLINE Value smaller(Value a, Value b) {
  return a < b ? a : b;
}

template <typename Value>
VLLM_LOCAL_INLINE Value larger(Value a, Value b) {
  return a > b ? a : b;
}

// Vectors that fit the registers beside what they are computed from.
template <typename Isa>
constexpr int kAccumulators = Isa::kTileRows * Isa::kPanelVectors;

// The largest power of two up to `limit` such that rows times that many groups of vectors fit the registers.
template <typename Isa>
constexpr int columns_for(int rows, int vectors, int limit) {
  int columns = 1;
  while (2 * columns <= limit && 2 * columns * rows * vectors <= kAccumulators<Isa>) columns *= 2;
  return columns;
}

// e^x of one number, by the vectors' polynomial.
template <typename Isa>
VLLM_LOCAL_INLINE float exponential_of(float x) {
  float lanes[Isa::kWidth];
  Isa::store(lanes, exponential<Isa>(Isa::broadcast(x)));
  return lanes[0];
}

// sums[row][i] += queries(row) · keys(i), with whichever are fewer kept in registers.
template <typename P, int Rows, int Columns, typename Queries, typename Keys>
VLLM_LOCAL_INLINE void add_outer_product(typename P::Isa::Vector (&sums)[Rows][Columns], const Queries& queries,
                                         const Keys& keys) {
  using Loaded = typename P::Loaded;
  if constexpr (Rows < Columns) {
    Loaded query[Rows];
#pragma GCC unroll 16
    for (int row = 0; row < Rows; row++) query[row] = P::broadcast(queries(row));
#pragma GCC unroll 16
    for (int i = 0; i < Columns; i++) {
      const Loaded key = keys(i);
#pragma GCC unroll 16
      for (int row = 0; row < Rows; row++) sums[row][i] = P::multiply(query[row], key, sums[row][i]);
    }
  } else {
    Loaded key[Columns];
#pragma GCC unroll 16
    for (int i = 0; i < Columns; i++) key[i] = keys(i);
#pragma GCC unroll 16
    for (int row = 0; row < Rows; row++) {
      const Loaded query = P::broadcast(queries(row));
#pragma GCC unroll 16
      for (int i = 0; i < Columns; i++) sums[row][i] = P::multiply(query, key[i], sums[row][i]);
    }
  }
}

// Products of `Rows` queries with the keys of `Tiles` tiles.
//   queries: [steps][Rows], tiles: [D][kTile] each, ahead: what to fetch meanwhile, or null, scores: rows of kKeyBlock
template <typename P, typename Number, int Rows, int Tiles>
VLLM_LOCAL_INLINE void score_tiles(const typename P::Step* queries, const Number* const* tiles,
                                   const Number* const* ahead, int head_size, float* scores) {
  using Isa = typename P::Isa;
  using Vector = typename Isa::Vector;
  constexpr int kVectors = kTile / Isa::kWidth;
  Vector sums[Rows][Tiles * kVectors];
#pragma GCC unroll 16
  for (int row = 0; row < Rows; row++) {
#pragma GCC unroll 16
    for (int i = 0; i < Tiles * kVectors; i++) sums[row][i] = Isa::broadcast(0.0f);
  }
  const int num_steps = head_size / P::kInputsPerStep;
  const auto add_step = [&](int step) {
    add_outer_product<P>(
        sums, [&](int row) { return queries[step * Rows + row]; },
        [&](int i) {
          const Number* keys = tiles[i / kVectors] + step * P::kInputsPerStep * kTile + i % kVectors * Isa::kWidth;
          return P::load(keys, keys + kTile);
        });
  };
  if (ahead == nullptr) {
    for (int step = 0; step < num_steps; step++) add_step(step);
  } else {
    constexpr int kBytes = P::kInputsPerStep * kTile * static_cast<int>(sizeof(Number));
    for (int step = 0; step < num_steps; step++) {
#pragma GCC unroll 16
      for (int i = 0; i < Tiles; i++) __builtin_prefetch(reinterpret_cast<const char*>(ahead[i]) + step * kBytes);
      add_step(step);
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < Rows; row++) {
#pragma GCC unroll 16
    for (int i = 0; i < Tiles * kVectors; i++) Isa::store(scores + row * kKeyBlock + i * Isa::kWidth, sums[row][i]);
  }
}

// Adds the values, weighed, to `Columns` vectors of each row's output, from number `first` on.
//   weights: rows of kKeyBlock, values: one pointer a key of whole steps, ahead: what to fetch meanwhile, or null,
//   output: rows of `stride`
template <typename P, typename Number, int Rows, int Columns>
VLLM_LOCAL_INLINE void add_values(const typename P::Weight* weights, const Number* const* values,
                                  const Number* const* ahead, int num_keys, int first, float* output, int stride) {
  using Isa = typename P::Isa;
  using Vector = typename Isa::Vector;
  Vector sums[Rows][Columns];
#pragma GCC unroll 16
  for (int row = 0; row < Rows; row++) {
#pragma GCC unroll 16
    for (int i = 0; i < Columns; i++) sums[row][i] = Isa::load(output + row * stride + first + i * Isa::kWidth);
  }
  constexpr int kKeys = P::kInputsPerStep;
  const auto add_keys = [&](int key) {
    add_outer_product<P>(
        sums, [&](int row) { return P::factor(weights + row * kKeyBlock + key); },
        [&](int i) {
          const int at = first + i * Isa::kWidth;
          return P::load(values[key] + at, values[key + kKeys - 1] + at);
        });
  };
  if (ahead == nullptr) {
    for (int key = 0; key < num_keys; key += kKeys) add_keys(key);
  } else {
    constexpr int kBytes = Columns * Isa::kWidth * static_cast<int>(sizeof(Number));
    for (int key = 0; key < num_keys; key += kKeys) {
#pragma GCC unroll 16
      for (int i = 0; i < kKeys; i++) {
        const char* next = reinterpret_cast<const char*>(ahead[key + i] + first);
#pragma GCC unroll 16
        for (int byte = 0; byte < kBytes; byte += 64) __builtin_prefetch(next + byte);
      }
      add_keys(key);
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < Rows; row++) {
#pragma GCC unroll 16
    for (int i = 0; i < Columns; i++) Isa::store(output + row * stride + first + i * Isa::kWidth, sums[row][i]);
  }
}

// All vectors of a head, as many at a time as fit.
template <typename P, typename Number, int Rows, int Columns>
VLLM_LOCAL_INLINE void add_all_values(const typename P::Weight* weights, const Number* const* values,
                                      const Number* const* ahead, int num_keys, int first, float* output, int stride) {
  constexpr int kNumbers = Columns * P::Isa::kWidth;
  for (; first + kNumbers <= stride; first += kNumbers) {
    add_values<P, Number, Rows, Columns>(weights, values, ahead, num_keys, first, output, stride);
  }
  if constexpr (Columns > 1) {
    add_all_values<P, Number, Rows, Columns / 2>(weights, values, ahead, num_keys, first, output, stride);
  }
}

// The running softmax of one row: its largest score, the sum of its weights and the weighed sum of values.
struct RowState {
  float* largest;
  float* sum;
  float* output;  // [padded D]
};

// Adds a segment to what came before it.
template <typename Isa>
void combine(const RowState& total, const RowState& segment, int padded_size) {
  if (*segment.largest == -INFINITY) return;
  if (*total.largest == -INFINITY) {
    *total.largest = *segment.largest;
    *total.sum = *segment.sum;
    std::memcpy(total.output, segment.output, padded_size * sizeof(float));
    return;
  }
  const float largest = larger(*total.largest, *segment.largest);
  const float before = exponential_of<Isa>(*total.largest - largest);
  const float now = exponential_of<Isa>(*segment.largest - largest);
  *total.largest = largest;
  *total.sum = *total.sum * before + *segment.sum * now;
  for (int i = 0; i < padded_size; i += Isa::kWidth) {
    const typename Isa::Vector scaled = Isa::multiply(Isa::load(total.output + i), Isa::broadcast(before));
    Isa::store(total.output + i, Isa::fma(Isa::load(segment.output + i), Isa::broadcast(now), scaled));
  }
}

// Computes one item of work.
template <typename P, typename Number>
class AttentionRows {
  using Isa = typename P::Isa;
  using Factor = typename P::Step;
  using Weight = typename P::Weight;

 public:
  AttentionRows(const AttendArguments& arguments, const AttentionItem& item, float* scratch)
      : layer_(*arguments.layer),
        step_(*arguments.step),
        cache_(*arguments.cache),
        qkv_(static_cast<const Number*>(arguments.qkv)),
        output_(static_cast<Number*>(arguments.output)),
        item_(item),
        heads_per_kv_head_(static_cast<int>(layer_.num_heads / layer_.num_kv_heads)),
        num_groups_((item.num_rows + Isa::kTileRows - 1) / Isa::kTileRows),
        blocks_(step_.block_tables + item.request * step_.block_table_stride) {
    const int first_token = step_.query_starts[item.request];
    const int num_queries = step_.query_starts[item.request + 1] - first_token;
    first_token_ = first_token;
    first_position_ = step_.seq_lens[item.request] - num_queries;
    const int64_t size = cache_.padded_size;
    queries_ = reinterpret_cast<Factor*>(scratch);
    scores_ = scratch + kMaxRows * size;
    segment_output_ = scores_ + kMaxRows * kKeyBlock;
    total_output_ = segment_output_ + kMaxRows * size;
    weights_ = reinterpret_cast<Weight*>(total_output_ + kMaxRows * size);
    packed_keys_ = reinterpret_cast<Number*>(total_output_ + kMaxRows * size + kMaxRows * kKeyBlock);
  }

  // Attends over the item's segments, and writes the output, or each segment's state where others combine them.
  void attend() {
    pack_queries();
    for (int row = 0; row < item_.num_rows; row++) clear(total(row));
    for (int segment = item_.first_segment; segment < item_.end_segment; segment++) {
      attend_segment(segment);
      for (int row = 0; row < item_.num_rows; row++) {
        if (item_.states == nullptr) {
          combine<Isa>(total(row), this->segment(row), cache_.padded_size);
        } else {
          copy_state(this->segment(row), stored(segment, row));
        }
      }
    }
    if (item_.states == nullptr) write_output();
  }

  // Combines the states that were written for all of the item's segments.
  void combine_states() {
    for (int row = 0; row < item_.num_rows; row++) clear(total(row));
    for (int segment = item_.first_segment; segment < item_.end_segment; segment++) {
      for (int row = 0; row < item_.num_rows; row++) {
        combine<Isa>(total(row), stored(segment, row), cache_.padded_size);
      }
    }
    write_output();
  }

 private:
  RowState total(int row) { return {total_largest_ + row, total_sum_ + row, total_output_ + row * cache_.padded_size}; }

  RowState segment(int row) {
    return {segment_largest_ + row, segment_sum_ + row, segment_output_ + row * cache_.padded_size};
  }

  RowState stored(int segment, int row) {
    const int64_t place = static_cast<int64_t>(segment - item_.states_segment) * item_.num_rows + row;
    float* state = item_.states + place * state_size(cache_.padded_size);
    return {state, state + 1, state + 2};
  }

  void clear(const RowState& state) {
    *state.largest = -INFINITY;
    *state.sum = 0.0f;
    std::memset(state.output, 0, cache_.padded_size * sizeof(float));
  }

  void copy_state(const RowState& source, const RowState& target) {
    *target.largest = *source.largest;
    *target.sum = *source.sum;
    std::memcpy(target.output, source.output, cache_.padded_size * sizeof(float));
  }

  int64_t position(int row) const { return first_position_ + (item_.first_row + row) / heads_per_kv_head_; }

  int64_t head(int row) const {
    return item_.kv_head * heads_per_kv_head_ + (item_.first_row + row) % heads_per_kv_head_;
  }

  int64_t token(int row) const { return first_token_ + (item_.first_row + row) / heads_per_kv_head_; }

  int64_t first_visible(int row) const {
    const int64_t first = position(row) + 1 - layer_.sliding_window;
    return layer_.sliding_window > 0 && first > 0 ? first : 0;
  }

  int group_start(int group) const { return item_.num_rows * group / num_groups_; }

  // Lays the queries of each group of rows out as [steps][rows].
  void pack_queries() {
    const int num_steps = static_cast<int>(layer_.head_size) / P::kInputsPerStep;
    const int64_t stride = (layer_.num_heads + 2 * layer_.num_kv_heads) * layer_.head_size;
    for (int group = 0; group < num_groups_; group++) {
      const int start = group_start(group), num_rows = group_start(group + 1) - start;
      Factor* target = queries_of(start);
      for (int row = 0; row < num_rows; row++) {
        const Number* source = qkv_ + token(start + row) * stride + head(start + row) * layer_.head_size;
        for (int step = 0; step < num_steps; step++) {
          target[step * num_rows + row] = P::factor(source + step * P::kInputsPerStep);
        }
      }
    }
  }

  Factor* queries_of(int row) { return queries_ + row * layer_.head_size / P::kInputsPerStep; }

  void attend_segment(int segment) {
    for (int row = 0; row < item_.num_rows; row++) clear(this->segment(row));
    const int64_t end_key = position(item_.num_rows - 1) + 1;
    const int64_t end = smaller(static_cast<int64_t>(segment + 1) * kSegment, end_key);
    const int64_t first = first_visible(0) / kKeyBlock * kKeyBlock;
    for (int64_t key = larger(segment * static_cast<int64_t>(kSegment), first); key < end; key += kKeyBlock) {
      attend_block(key, static_cast<int>(smaller<int64_t>(kKeyBlock, end - key)));
    }
  }

  // Attends to one block of keys. Meanwhile the item's next block is fetched: each of the cache's blocks is a stretch
  // of memory of its own, too short for the hardware to see where it leads.
  void attend_block(int64_t first_key, int num_keys) {
    const int num_tiles = (num_keys + kTile - 1) / kTile;
    const Number* tiles[kKeyBlock / kTile];
    const Number* values[kKeyBlock];
    find_tiles(first_key, num_keys, tiles);
    find_values(first_key, num_keys, values);
    const Number* tiles_ahead[kKeyBlock / kTile];
    const Number* values_ahead[kKeyBlock];
    const bool has_next = cache_.tile == kTile && first_key + 2 * kKeyBlock <= position(item_.num_rows - 1) + 1;
    if (has_next) {
      find_tiles(first_key + kKeyBlock, kKeyBlock, tiles_ahead);
      find_values(first_key + kKeyBlock, kKeyBlock, values_ahead);
    }
    for (int group = 0; group < num_groups_; group++) {
      const int start = group_start(group);
      const Number* const* ahead = has_next && group == 0 ? tiles_ahead : nullptr;
      score_group<Isa::kTileRows>(group_start(group + 1) - start, queries_of(start), tiles, ahead, num_tiles,
                                  scores_ + start * kKeyBlock);
    }
    for (int row = 0; row < item_.num_rows; row++) weigh(row, first_key, num_tiles * kTile);
    for (int group = 0; group < num_groups_; group++) {
      const int start = group_start(group);
      const Number* const* ahead = has_next && group == 0 ? values_ahead : nullptr;
      add_group<Isa::kTileRows>(group_start(group + 1) - start, weights_ + start * kKeyBlock, values, ahead, num_keys,
                                segment_output_ + start * cache_.padded_size);
    }
  }

  void find_tiles(int64_t first_key, int num_keys, const Number** tiles) {
    if (cache_.tile != kTile) return pack_tiles(first_key, num_keys, tiles);
    for (int i = 0; i * kTile < num_keys; i++) {
      const int64_t key = first_key + i * kTile;
      tiles[i] = cache_.key(blocks_[key / cache_.block_size], item_.kv_head, key % cache_.block_size);
    }
  }

  // Copies keys of blocks that hold no whole number of tiles. Whatever follows the last key is masked.
  void pack_tiles(int64_t first_key, int num_keys, const Number** tiles) {
    for (int i = 0; i * kTile < num_keys; i++) tiles[i] = packed_keys_ + i * kTile * cache_.head_size;
    int64_t block = first_key / cache_.block_size, offset = first_key % cache_.block_size;
    for (int i = 0; i < num_keys; i++) {
      const Number* source = cache_.key(blocks_[block], item_.kv_head, offset);
      Number* target = packed_keys_ + i / kTile * kTile * cache_.head_size + i % kTile;
      for (int d = 0; d < cache_.head_size; d++) target[d * kTile] = source[d * cache_.tile];
      advance(&block, &offset);
    }
  }

  void find_values(int64_t first_key, int num_keys, const Number** values) {
    int64_t block = first_key / cache_.block_size, offset = first_key % cache_.block_size;
    const Number* next = cache_.value(blocks_[block], item_.kv_head, offset);
    for (int i = 0; i < num_keys; i++, next += cache_.padded_size) {
      values[i] = next;
      if (advance(&block, &offset) && i + 1 < num_keys) {
        next = cache_.value(blocks_[block], item_.kv_head, 0) - cache_.padded_size;
      }
    }
    // The other half of the last pair weighs nothing.
    if (num_keys % 2 != 0) values[num_keys] = values[num_keys - 1];
  }

  // Moves on by one key; returns whether that was the last one of its block.
  bool advance(int64_t* block, int64_t* offset) const {
    if (++*offset < cache_.block_size) return false;
    *offset = 0;
    ++*block;
    return true;
  }

  template <int Rows>
  void score_group(int num_rows, const Factor* queries, const Number* const* tiles, const Number* const* ahead,
                   int num_tiles, float* scores) {
    if constexpr (Rows > 1) {
      if (num_rows < Rows) return score_group<Rows - 1>(num_rows, queries, tiles, ahead, num_tiles, scores);
    }
    constexpr int kAtOnce = columns_for<Isa>(Rows, kTile / Isa::kWidth, kKeyBlock / kTile);
    int i = 0;
    for (; i + kAtOnce <= num_tiles; i += kAtOnce) {
      const Number* const* next = ahead == nullptr ? nullptr : ahead + i;
      score_tiles<P, Number, Rows, kAtOnce>(queries, tiles + i, next, cache_.head_size, scores + i * kTile);
    }
    for (; kAtOnce > 1 && i < num_tiles; i++) {
      score_tiles<P, Number, Rows, 1>(queries, tiles + i, nullptr, cache_.head_size, scores + i * kTile);
    }
  }

  template <int Rows>
  void add_group(int num_rows, const Weight* weights, const Number* const* values, const Number* const* ahead,
                 int num_keys, float* output) {
    if constexpr (Rows > 1) {
      if (num_rows < Rows) return add_group<Rows - 1>(num_rows, weights, values, ahead, num_keys, output);
    }
    constexpr int kColumns = columns_for<Isa>(Rows, 1, 8);
    add_all_values<P, Number, Rows, kColumns>(weights, values, ahead, num_keys, 0, output, cache_.padded_size);
  }

  // Turns a row's products into weights, and rescales what it has where its largest score has grown.
  void weigh(int row, int64_t first_key, int num_scores) {
    float* scores = scores_ + row * kKeyBlock;
    Weight* weights = weights_ + row * kKeyBlock;
    const int begin = clamp(first_visible(row) - first_key, num_scores);
    const int end = clamp(position(row) + 1 - first_key, num_scores);
    if (begin >= end) return fill(weights, 0, num_scores, Weight{});
    scale_scores(row, first_key, num_scores);
    fill(scores, 0, begin, -INFINITY);
    fill(scores, end, num_scores, -INFINITY);
    const float largest = larger(segment_largest_[row], largest_of(scores, num_scores));
    rescale(row, largest);
    for (int i = 0; i < num_scores; i += Isa::kWidth) {
      const Vector distance = Isa::subtract(Isa::load(scores + i), Isa::broadcast(largest));
      Isa::store(weights + i, exponential<Isa>(distance));
    }
    // The polynomial has no zero; whoever must not be seen weighs exactly nothing.
    fill(weights, 0, begin, Weight{});
    fill(weights, end, num_scores, Weight{});
    Vector sum = Isa::broadcast(0.0f);
    for (int i = 0; i < num_scores; i += Isa::kWidth) sum = Isa::add(sum, Isa::load(weights + i));
    segment_sum_[row] += Isa::sum(sum);
  }

  void scale_scores(int row, int64_t first_key, int num_scores) {
    float* scores = scores_ + row * kKeyBlock;
    const Vector scale = Isa::broadcast(layer_.softmax_scale);
    for (int i = 0; i < num_scores; i += Isa::kWidth) {
      Isa::store(scores + i, Isa::multiply(Isa::load(scores + i), scale));
    }
    if (layer_.logit_softcap > 0.0f) soften(scores, num_scores);
    if (layer_.alibi_slopes == nullptr) return;
    const float slope = layer_.alibi_slopes[head(row)];
    for (int i = 0; i < num_scores; i++) scores[i] += slope * static_cast<float>(first_key + i - position(row));
  }

  // softcap · tanh(score / softcap), where tanh(x) = 1 - 2 / (e^2x + 1)
  void soften(float* scores, int num_scores) {
    const Vector cap = Isa::broadcast(layer_.logit_softcap), one = Isa::broadcast(1.0f), two = Isa::broadcast(2.0f);
    for (int i = 0; i < num_scores; i += Isa::kWidth) {
      const Vector power = exponential<Isa>(Isa::multiply(two, Isa::divide(Isa::load(scores + i), cap)));
      const Vector tangent = Isa::subtract(one, Isa::divide(two, Isa::add(power, one)));
      Isa::store(scores + i, Isa::multiply(cap, tangent));
    }
  }

  float largest_of(const float* scores, int num_scores) {
    Vector largest = Isa::load(scores);
    for (int i = Isa::kWidth; i < num_scores; i += Isa::kWidth) largest = Isa::maximum(largest, Isa::load(scores + i));
    return Isa::largest(largest);
  }

  void rescale(int row, float largest) {
    const float before = segment_largest_[row];
    segment_largest_[row] = largest;
    if (largest == before || before == -INFINITY) return;
    const float factor = exponential_of<Isa>(before - largest);
    segment_sum_[row] *= factor;
    float* output = segment_output_ + row * cache_.padded_size;
    for (int i = 0; i < cache_.padded_size; i += Isa::kWidth) {
      Isa::store(output + i, Isa::multiply(Isa::load(output + i), Isa::broadcast(factor)));
    }
  }

  void write_output() {
    for (int row = 0; row < item_.num_rows; row++) {
      const RowState state = total(row);
      Number* target = output_ + (token(row) * layer_.num_heads + head(row)) * layer_.head_size;
      const Vector scale = Isa::broadcast(1.0f / *state.sum);
      for (int i = 0; i < layer_.head_size; i += Isa::kWidth) {
        store_up_to<Isa>(target + i, Isa::multiply(Isa::load(state.output + i), scale), layer_.head_size - i);
      }
    }
  }

  static int clamp(int64_t number, int limit) {
    return static_cast<int>(number < 0 ? 0 : number > limit ? limit : number);
  }

  template <typename Value>
  static void fill(Value* numbers, int begin, int end, Value value) {
    for (int i = begin; i < end; i++) numbers[i] = value;
  }

  using Vector = typename Isa::Vector;

  const AttentionLayer& layer_;
  const AttentionStep& step_;
  const PagedCache<Number> cache_;
  const Number* qkv_;
  Number* output_;
  const AttentionItem& item_;
  const int heads_per_kv_head_;
  const int num_groups_;
  const int32_t* blocks_;
  int64_t first_token_;
  int64_t first_position_;
  Factor* queries_;
  float* scores_;
  Weight* weights_;
  float* segment_output_;
  float* total_output_;
  Number* packed_keys_;
  float segment_largest_[kMaxRows];
  float segment_sum_[kMaxRows];
  float total_largest_[kMaxRows];
  float total_sum_[kMaxRows];
};

// Calls with the rows of an item, of the kind that its cache and the machine ask for.
template <typename Isa, typename Call>
void with_rows(const AttendArguments& arguments, const AttentionItem& item, float* scratch, const Call& call) {
  if (arguments.cache->dtype != DTYPE_BFLOAT16) {
    return call(AttentionRows<Products<Isa, float, false>, float>(arguments, item, scratch));
  }
  if constexpr (kIsPaired<Isa, bfloat16>) {
    if (arguments.cache->head_size % 2 == 0) {
      return call(AttentionRows<Products<Isa, bfloat16, true>, bfloat16>(arguments, item, scratch));
    }
  }
  call(AttentionRows<Products<Isa, bfloat16, false>, bfloat16>(arguments, item, scratch));
}

template <typename Isa>
void attend_item(const AttendArguments& arguments, const AttentionItem& item, float* scratch) {
  with_rows<Isa>(arguments, item, scratch, [](auto&& rows) { rows.attend(); });
}

template <typename Isa>
void combine_item(const AttendArguments& arguments, const AttentionItem& item, float* scratch) {
  with_rows<Isa>(arguments, item, scratch, [](auto&& rows) { rows.combine_states(); });
}

}  // namespace
}  // namespace vllm_local
