#include "attention_plan.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "scratch.h"
#include "thread_pool.h"

namespace vllm_local {
namespace {

// Multiply-adds below which one thread does it all: waking another takes as long.
constexpr int64_t kSmallWork = 1 << 17;

int64_t padded(int64_t head_size) { return (head_size + 15) / 16 * 16; }

// What an item needs: queries, segment and total output, scores, and keys copied into tiles.
size_t scratch_bytes(int64_t head_size) {
  const size_t floats = (3 * kMaxRows + kKeyBlock) * padded(head_size) + 2 * kMaxRows * kKeyBlock;
  return floats * sizeof(float);
}

int64_t num_segments(const AttentionItem& item) { return item.end_segment - item.first_segment; }

int64_t cost(const AttentionItem& item) { return item.num_rows * num_segments(item); }

// The items of one call. Its memory serves the calling thread's next call too.
struct Plan {
  std::vector<AttentionItem> items;
  std::vector<AttentionItem> shared;  // items that were cut, whose segments are combined afterwards
  std::vector<float> states;
  int64_t total_cost = 0;

  void make(const AttendArguments& arguments, int num_threads) {
    items.clear();
    shared.clear();
    total_cost = 0;
    for (int64_t request = 0; request < arguments.step->num_requests; request++) {
      add_request(*arguments.layer, *arguments.step, static_cast<int32_t>(request));
    }
    const int64_t share = (total_cost + num_threads - 1) / num_threads;
    share_long_items(share, state_size(padded(arguments.layer->head_size)));
    // Whoever takes the last item should not take a long one.
    std::stable_partition(items.begin(), items.end(),
                          [=](const AttentionItem& item) { return cost(item) * 8 > share; });
  }

 private:
  void add_request(const AttentionLayer& layer, const AttentionStep& step, int32_t request) {
    const int32_t num_queries = step.query_starts[request + 1] - step.query_starts[request];
    const int32_t heads = static_cast<int32_t>(layer.num_heads / layer.num_kv_heads);
    const int32_t num_rows = num_queries * heads;
    const int64_t first_position = step.seq_lens[request] - num_queries;
    // The last rows see most, so they come first.
    for (int32_t row = (num_rows - 1) / kMaxRows * kMaxRows; row >= 0; row -= kMaxRows) {
      AttentionItem item = {};
      item.request = request;
      item.first_row = row;
      item.num_rows = std::min(num_rows - row, kMaxRows);
      const int64_t unseen = first_position + row / heads + 1 - layer.sliding_window;
      item.first_segment = static_cast<int32_t>(layer.sliding_window > 0 ? std::max<int64_t>(unseen, 0) / kSegment : 0);
      const int64_t last_position = first_position + (row + item.num_rows - 1) / heads;
      item.end_segment = static_cast<int32_t>(last_position / kSegment + 1);
      for (; item.kv_head < layer.num_kv_heads; item.kv_head++) items.push_back(item);
      total_cost += cost(item) * layer.num_kv_heads;
    }
  }

  // Cuts items that would keep a thread busy for longer than its share of everything.
  void share_long_items(int64_t share, int64_t floats_per_row) {
    const auto is_short = [=](const AttentionItem& item) { return num_segments(item) == 1 || cost(item) <= share; };
    const auto first = std::stable_partition(items.begin(), items.end(), is_short);
    shared.assign(first, items.end());
    items.erase(first, items.end());
    size_t num_floats = 0;
    for (const AttentionItem& item : shared) num_floats += cost(item) * floats_per_row;
    if (states.size() < num_floats) states.resize(num_floats);
    float* next = states.data();
    for (AttentionItem& item : shared) {
      item.states = next;
      item.states_segment = item.first_segment;
      next += cost(item) * floats_per_row;
      cut(item, std::min(num_segments(item), (cost(item) + share - 1) / share));
    }
  }

  void cut(const AttentionItem& whole, int64_t num_pieces) {
    AttentionItem piece = whole;
    for (int64_t i = 0; i < num_pieces; i++) {
      piece.first_segment = static_cast<int32_t>(whole.first_segment + num_segments(whole) * i / num_pieces);
      piece.end_segment = static_cast<int32_t>(whole.first_segment + num_segments(whole) * (i + 1) / num_pieces);
      items.push_back(piece);
    }
  }
};

// Runs a kernel on every item; threads take the next one as they get done.
void run_items(const AttendArguments& arguments, const std::vector<AttentionItem>& items, ItemKernel kernel,
               bool alone) {
  std::atomic<size_t> next{0};
  const size_t bytes = scratch_bytes(arguments.layer->head_size);
  const auto work = [&](int, int) {
    float* memory = static_cast<float*>(scratch(Scratch::kAttention, bytes));
    for (size_t i = next++; i < items.size(); i = next++) kernel(arguments, items[i], memory);
  };
  if (alone) {
    work(0, 1);
  } else {
    parallel(work);
  }
}

}  // namespace

void attend(const AttendArguments& arguments, ItemKernel attend_item, ItemKernel combine_item) {
  static thread_local Plan plan;
  plan.make(arguments, num_threads());
  const int64_t multiply_adds = plan.total_cost * kSegment * arguments.layer->head_size;
  run_items(arguments, plan.items, attend_item, multiply_adds < kSmallWork);
  if (!plan.shared.empty()) run_items(arguments, plan.shared, combine_item, plan.shared.size() == 1);
}

}  // namespace vllm_local
