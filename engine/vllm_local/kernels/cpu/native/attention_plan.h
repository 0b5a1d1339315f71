// How a step's attention is cut into items of work. Nothing here depends on the instruction set.
#pragma once

#include <cstdint>

#include "api.h"

namespace vllm_local {

// Keys over which softmax runs at once.
constexpr int kKeyBlock = 64;
// Keys after which it starts anew, so that threads can share a long context.
constexpr int kSegment = 512;
// Query rows of an item: as many as let K, V and all that a row needs stay in the second-level cache.
constexpr int kMaxRows = 48;

// Rows of one request that share a K and V head, over some of the segments of their context. Row r of a request is
// head r % n of its token r / n, with n query heads to a K and V head.
struct AttentionItem {
  int32_t request;
  int32_t kv_head;
  int32_t first_row;
  int32_t num_rows;
  int32_t first_segment;
  int32_t end_segment;
  int32_t states_segment;  // the first segment that has a place in `states`
  float* states;           // [segments, num_rows, state_size], or null where the item is the whole context
};

// Floats of a row's state after a segment: largest score, sum of weights, weighed values.
constexpr int64_t state_size(int64_t padded_head_size) { return padded_head_size + 2; }

using ItemKernel = void (*)(const AttendArguments&, const AttentionItem&, float* scratch);

// Cuts a step's attention into items and runs them on all threads.
void attend(const AttendArguments& arguments, ItemKernel attend_item, ItemKernel combine_item);

}  // namespace vllm_local
