// Which experts each row goes to, and with what weight. A row's choices depend on its own logits alone; no expert is
// ever full.
#include "routing.h"

#include <cmath>

namespace vllm_local {
namespace {

// The experts with the largest logits, the lowest among equals first. With NaN among them any, but different ones.
void choose(const float* logits, int64_t num_experts, int64_t top_k, int32_t* chosen) {
  for (int64_t count = 0; count < top_k; count++) {
    int32_t best = -1;
    for (int32_t expert = 0; expert < num_experts; expert++) {
      bool is_taken = false;
      for (int64_t i = 0; i < count; i++) is_taken |= chosen[i] == expert;
      if (!is_taken && (best < 0 || logits[expert] > logits[best])) best = expert;
    }
    chosen[count] = best;
  }
}

// Their softmax over all experts, or over the chosen ones.
void weigh(const RouteArguments& arguments, const float* logits, const int32_t* chosen, float* weights) {
  const float largest = logits[chosen[0]];
  float sum = 0.0f;
  if (!arguments.normalises) {
    for (int64_t expert = 0; expert < arguments.num_experts; expert++) sum += std::exp(logits[expert] - largest);
  }
  for (int64_t i = 0; i < arguments.top_k; i++) {
    weights[i] = std::exp(logits[chosen[i]] - largest);
    if (arguments.normalises) sum += weights[i];
  }
  for (int64_t i = 0; i < arguments.top_k; i++) weights[i] /= sum;
}

// Sorts all choices by expert; those of one expert stay in the rows' order.
void sort_choices(const RouteArguments& arguments) {
  const int64_t num_choices = arguments.num_rows * arguments.top_k;
  int32_t* starts = arguments.group_starts;
  for (int64_t expert = 0; expert <= arguments.num_experts; expert++) starts[expert] = 0;
  for (int64_t i = 0; i < num_choices; i++) starts[arguments.experts[i] + 1]++;
  for (int64_t expert = 0; expert < arguments.num_experts; expert++) starts[expert + 1] += starts[expert];
  for (int64_t i = 0; i < num_choices; i++) {
    const int32_t place = starts[arguments.experts[i]]++;
    arguments.places[i] = place;
    arguments.rows[place] = i / arguments.top_k;
  }
  // Every start has moved to its group's end, which is the next one's start.
  for (int64_t expert = arguments.num_experts; expert > 0; expert--) starts[expert] = starts[expert - 1];
  starts[0] = 0;
}

}  // namespace

void route(const RouteArguments& arguments) {
  for (int64_t row = 0; row < arguments.num_rows; row++) {
    const float* logits = arguments.logits + row * arguments.num_experts;
    int32_t* chosen = arguments.experts + row * arguments.top_k;
    choose(logits, arguments.num_experts, arguments.top_k, chosen);
    weigh(arguments, logits, chosen, arguments.weights + row * arguments.top_k);
  }
  sort_choices(arguments);
}

}  // namespace vllm_local
