// The experts of a mixture: rows are gathered by expert, taken through two grouped linears, and added up again.
#pragma once

#include "api.h"
#include "grouped_linear.h"
#include "isa.h"
#include "thread_pool.h"

namespace vllm_local {
namespace {

// Copies each choice's row to the choice's place.
static inline void gather(const ExpertsArguments& arguments) {
  const int64_t number = arguments.dtype == DTYPE_BFLOAT16 ? sizeof(bfloat16) : sizeof(float);
  const int64_t bytes = arguments.hidden_size * number;
  parallel([&](int thread, int num_threads) {
    const Share places = share_of(arguments.num_rows * arguments.top_k, thread, num_threads);
    for (int64_t place = places.begin; place < places.end; place++) {
      const char* row = static_cast<const char*>(arguments.input) + arguments.rows[place] * bytes;
      memcpy(static_cast<char*>(arguments.gathered) + place * bytes, row, bytes);
    }
  });
}

// A row of the residual stream plus the weighed results of its choices.
template <typename Isa>
void combine_row(const ExpertsArguments& arguments, int64_t row) {
  using Vector = typename Isa::Vector;
  const float* weights = arguments.weights + row * arguments.top_k;
  const int32_t* places = arguments.places + row * arguments.top_k;
  float* residual = arguments.residual + row * arguments.hidden_size;
  for (int64_t i = 0; i < arguments.hidden_size; i += Isa::kWidth) {
    const int64_t left = arguments.hidden_size - i;
    Vector sum = Isa::broadcast(0.0f);
    for (int64_t choice = 0; choice < arguments.top_k; choice++) {
      const float* result = arguments.results + places[choice] * arguments.hidden_size + i;
      sum = Isa::fma(Isa::broadcast(weights[choice]), load_up_to<Isa>(result, left), sum);
    }
    store_up_to<Isa>(residual + i, Isa::add(load_up_to<Isa>(residual + i, left), sum), left);
  }
}

template <typename Isa>
void combine(const ExpertsArguments& arguments) {
  parallel([&](int thread, int num_threads) {
    const Share rows = share_of(arguments.num_rows, thread, num_threads);
    for (int64_t row = rows.begin; row < rows.end; row++) combine_row<Isa>(arguments, row);
  });
}

template <typename Isa>
void experts(const ExpertsArguments& arguments) {
  GroupedLinearArguments linear = {};
  linear.group_starts = arguments.group_starts;
  linear.num_groups = arguments.num_experts;
  linear.dtype = arguments.dtype;
  gather(arguments);
  linear.input = arguments.gathered;
  linear.output = arguments.inner;
  linear.weights = arguments.gated;
  linear.in_features = arguments.hidden_size;
  linear.out_features = 2 * arguments.intermediate_size;
  linear.output_dtype = arguments.dtype;
  linear.activation = arguments.activation;
  linear.gated = 1;
  grouped_linear<Isa>(linear);
  linear.input = arguments.inner;
  linear.output = arguments.results;
  linear.weights = arguments.down;
  linear.in_features = arguments.intermediate_size;
  linear.out_features = arguments.hidden_size;
  linear.output_dtype = DTYPE_FLOAT32;
  linear.activation = ACTIVATION_NONE;
  linear.gated = 0;
  grouped_linear<Isa>(linear);
  combine<Isa>(arguments);
}

}  // namespace
}  // namespace vllm_local
