// A linear for each group of rows, as for a mixture of experts: many weights, few rows for each of them.
//
// A result is the same chain of multiply-adds as in linear.h, so it does not depend on which rows share its group, nor
// on how many groups there are.
#pragma once

#include "api.h"
#include "linear.h"

namespace vllm_local {
namespace {

// Rows group_starts[g] … group_starts[g + 1] of the input times weights[g], without a bias; see LinearArguments.
struct GroupedLinearArguments {
  const void* input;           // [rows of all groups, in_features] of `dtype`
  void* output;                // [rows of all groups, results] of output_dtype
  const void* const* weights;  // [num_groups], packed, of `dtype`
  const int32_t* group_starts;
  int64_t num_groups;
  int64_t in_features;
  int64_t out_features;
  int32_t dtype;
  int32_t output_dtype;
  int32_t activation;
  int32_t gated;
};

// One group's part, as a linear.
VLLM_LOCAL_INLINE LinearArguments linear_of_group(const GroupedLinearArguments& arguments, int64_t group) {
  const int64_t first = arguments.group_starts[group];
  const int64_t results = arguments.gated ? arguments.out_features / 2 : arguments.out_features;
  const int64_t input_bytes = arguments.dtype == DTYPE_BFLOAT16 ? sizeof(bfloat16) : sizeof(float);
  const int64_t output_bytes = arguments.output_dtype == DTYPE_BFLOAT16 ? sizeof(bfloat16) : sizeof(float);
  LinearArguments linear = {};
  linear.input = static_cast<const char*>(arguments.input) + first * arguments.in_features * input_bytes;
  linear.weight = arguments.weights[group];
  linear.output = static_cast<char*>(arguments.output) + first * results * output_bytes;
  linear.num_rows = arguments.group_starts[group + 1] - first;
  linear.in_features = linear.input_stride = arguments.in_features;
  linear.out_features = arguments.out_features;
  linear.output_stride = results;
  linear.scale = 1.0f;
  linear.weight_dtype = linear.input_dtype = arguments.dtype;
  linear.output_dtype = arguments.output_dtype;
  linear.activation = arguments.activation;
  linear.gated = arguments.gated;
  return linear;
}

// Calls function(linear, index) for each group of at most a tile of rows; index counts those groups.
template <typename Isa, typename Function>
VLLM_LOCAL_INLINE void for_each_small_group(const GroupedLinearArguments& arguments, const Function& function) {
  int64_t index = 0;
  for (int64_t group = 0; group < arguments.num_groups; group++) {
    const int64_t rows = arguments.group_starts[group + 1] - arguments.group_starts[group];
    if (rows > 0 && rows <= Isa::kTileRows) function(linear_of_group(arguments, group), index++);
  }
}

// All groups of at most a tile of rows at once: the threads share the panels of all of them.
template <typename F>
void multiply_small_groups(const GroupedLinearArguments& arguments) {
  using Isa = typename F::Isa;
  int64_t count = 0;
  for_each_small_group<Isa>(arguments, [&](const LinearArguments&, int64_t) { count++; });
  if (count == 0) return;
  const int64_t panels = packed_columns<Isa>(arguments.out_features, arguments.gated) / kPanelColumns<Isa>;
  parallel([&](int thread, int num_threads) {
    const Share share = share_of(count * panels, thread, num_threads);
    for_each_small_group<Isa>(arguments, [&](const LinearArguments& linear, int64_t index) {
      const int64_t first = index * panels;
      const int64_t begin = share.begin > first ? share.begin - first : 0;
      const int64_t end = share.end < first + panels ? share.end - first : panels;
      if (begin < end) multiply_panels<F>(linear, {begin, end});
    });
  });
}

template <typename F>
void multiply_groups(const GroupedLinearArguments& arguments) {
  multiply_small_groups<F>(arguments);
  for (int64_t group = 0; group < arguments.num_groups; group++) {
    const LinearArguments linear = linear_of_group(arguments, group);
    if (linear.num_rows > F::Isa::kTileRows) multiply_all<F>(linear);
  }
}

template <typename Isa>
void grouped_linear(const GroupedLinearArguments& arguments) {
  if (arguments.dtype == DTYPE_BFLOAT16) {
    multiply_groups<Format<Isa, bfloat16>>(arguments);
  } else {
    multiply_groups<Format<Isa, float>>(arguments);
  }
}

}  // namespace
}  // namespace vllm_local
