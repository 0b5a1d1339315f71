// A linear for each group of rows, as for a mixture of experts: many weights, few rows for each of them.
//
// A result is the same chain of multiply-adds as in linear.h, so it does not depend on which rows share its group, nor
// on how many groups there are.
#pragma once

#include "api.h"
#include "linear.h"

namespace vllm_local {
namespace {

// One group's part, as a linear.
VLLM_LOCAL_INLINE LinearArguments linear_of_group(const GroupedLinearArguments& arguments, int64_t group) {
  const int64_t first = arguments.group_starts[group];
  const int64_t results = arguments.gated ? arguments.out_features / 2 : arguments.out_features;
  const int64_t input_bytes = arguments.input_dtype == DTYPE_BFLOAT16 ? sizeof(bfloat16) : sizeof(float);
  const int64_t output_bytes = arguments.output_dtype == DTYPE_BFLOAT16 ? sizeof(bfloat16) : sizeof(float);
  LinearArguments linear = {};
  if (arguments.input_rows == nullptr) {
    linear.input = static_cast<const char*>(arguments.input) + first * arguments.in_features * input_bytes;
  } else {
    linear.input = arguments.input;
    linear.input_rows = arguments.input_rows + first;
  }
  linear.weight = arguments.weights[group];
  linear.output = static_cast<char*>(arguments.output) + first * results * output_bytes;
  linear.num_rows = arguments.group_starts[group + 1] - first;
  linear.in_features = linear.input_stride = arguments.in_features;
  linear.out_features = arguments.out_features;
  linear.output_stride = results;
  linear.scale = 1.0f;
  linear.weight_dtype = arguments.weight_dtype;
  linear.input_dtype = arguments.input_dtype;
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
  // Inputs are packed anew for each stretch.
  parallel_stretches(count * panels, kMostPanelsAtOnce, [&](const Share& share) {
    for_each_small_group<Isa>(arguments, [&](const LinearArguments& linear, int64_t index) {
      const int64_t first = index * panels;
      const int64_t begin = share.begin > first ? share.begin - first : 0;
      const int64_t end = share.end < first + panels ? share.end - first : panels;
      if (begin < end) multiply_panels<F>(linear, pack_few_inputs<F>(linear), {begin, end});
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
  if (arguments.weight_dtype == DTYPE_BFLOAT16) {
    multiply_groups<Format<Isa, bfloat16>>(arguments);
  } else {
    multiply_groups<Format<Isa, float>>(arguments);
  }
}

// A row of the residual stream plus the weighed results of its choices, which are added up in their order.
template <typename Isa>
VLLM_LOCAL_INLINE void combine_row(const CombineArguments& arguments, int64_t row) {
  using Vector = typename Isa::Vector;
  const float* weights = arguments.weights + row * arguments.top_k;
  const int32_t* places = arguments.places + row * arguments.top_k;
  float* residual = arguments.residual + row * arguments.size;
  for (int64_t i = 0; i < arguments.size; i += Isa::kWidth) {
    const int64_t left = arguments.size - i;
    Vector sum = Isa::broadcast(0.0f);
    for (int64_t choice = 0; choice < arguments.top_k; choice++) {
      const float* result = arguments.results + places[choice] * arguments.size + i;
      sum = Isa::fma(Isa::broadcast(weights[choice]), load_up_to<Isa>(result, left), sum);
    }
    store_up_to<Isa>(residual + i, Isa::add(load_up_to<Isa>(residual + i, left), sum), left);
  }
}

template <typename Isa>
void combine(const CombineArguments& arguments) {
  parallel([&](int thread, int num_threads) {
    const Share rows = share_of(arguments.num_rows, thread, num_threads);
    for (int64_t row = rows.begin; row < rows.end; row++) combine_row<Isa>(arguments, row);
  });
}

}  // namespace
}  // namespace vllm_local
