// Packs the weights of linear layers into panels.
//
// A panel holds Isa::kPanelVectors vectors of columns for one step of inputs after the other, so that decoding and
// prefill both read it from front to back. Columns and inputs that a weight does not have are zeros.
#pragma once

#include "api.h"
#include "linear_format.h"
#include "thread_pool.h"

namespace vllm_local {
namespace {

static inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Which output a panel's column holds, or -1. A gated panel has gates in its first half and what they open in its
// second, so that both of a result's sums are at hand at once.
template <typename Isa>
int64_t output_of(int64_t panel, int column, int64_t out_features, bool is_gated) {
  if (!is_gated) {
    const int64_t output = panel * kPanelColumns<Isa> + column;
    return output < out_features ? output : -1;
  }
  constexpr int kHalf = kPanelColumns<Isa> / 2;
  const int64_t result = panel * kHalf + column % kHalf;
  if (result >= out_features / 2) return -1;
  return column < kHalf ? result : out_features / 2 + result;
}

template <typename Isa>
int64_t packed_columns(int64_t out_features, bool is_gated) {
  // A gated weight's halves are padded each by itself.
  const int64_t halves = is_gated ? 2 : 1;
  return ceil_divide(out_features / halves, kPanelColumns<Isa> / halves) * kPanelColumns<Isa>;
}

// Numbers in a panel.
template <typename F>
int64_t panel_size(int64_t in_features) {
  const int64_t steps = ceil_divide(in_features, F::kInputsPerStep);
  return steps * F::kInputsPerStep * kPanelColumns<typename F::Isa>;
}

// Where a panel holds the weight of a column and an input.
template <typename F>
VLLM_LOCAL_INLINE int64_t place_in_panel(int column, int64_t input) {
  const int64_t step = input / F::kInputsPerStep * F::kInputsPerStep;
  return step * kPanelColumns<typename F::Isa> + F::place(column, static_cast<int>(input - step));
}

template <typename Isa>
int64_t packed_bytes(const PackArguments& arguments) {
  const int64_t panels = packed_columns<Isa>(arguments.out_features, arguments.gated) / kPanelColumns<Isa>;
  if (arguments.dtype == DTYPE_BFLOAT16) {
    return panels * panel_size<Format<Isa, bfloat16>>(arguments.in_features) * sizeof(bfloat16);
  }
  return panels * panel_size<Format<Isa, float>>(arguments.in_features) * sizeof(float);
}

template <typename F>
void pack_panel(const PackArguments& arguments, int64_t panel) {
  using Weight = typename F::Weight;
  constexpr int kColumns = kPanelColumns<typename F::Isa>;
  const int64_t size = panel_size<F>(arguments.in_features);
  Weight* target = static_cast<Weight*>(arguments.packed) + panel * size;
  memset(target, 0, size * sizeof(Weight));
  for (int column = 0; column < kColumns; column++) {
    const int64_t output = output_of<typename F::Isa>(panel, column, arguments.out_features, arguments.gated);
    if (arguments.bias != nullptr) {
      arguments.packed_bias[panel * kColumns + column] = output < 0 ? 0.0f : arguments.bias[output];
    }
    if (output < 0) continue;
    const Weight* row = static_cast<const Weight*>(arguments.weight) + output * arguments.in_features;
    for (int64_t i = 0; i < arguments.in_features; i++) target[place_in_panel<F>(column, i)] = row[i];
  }
}

template <typename F>
void pack_panels(const PackArguments& arguments) {
  using Isa = typename F::Isa;
  const int64_t panels = packed_columns<Isa>(arguments.out_features, arguments.gated) / kPanelColumns<Isa>;
  parallel([&](int thread, int num_threads) {
    const Share share = share_of(panels, thread, num_threads);
    for (int64_t panel = share.begin; panel < share.end; panel++) pack_panel<F>(arguments, panel);
  });
}

template <typename Isa>
void pack(const PackArguments& arguments) {
  if (arguments.dtype == DTYPE_BFLOAT16) {
    pack_panels<Format<Isa, bfloat16>>(arguments);
  } else {
    pack_panels<Format<Isa, float>>(arguments);
  }
}

}  // namespace
}  // namespace vllm_local
