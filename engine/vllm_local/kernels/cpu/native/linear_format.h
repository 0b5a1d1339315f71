// How inputs meet packed weights: one float32 input a step, or a pair of bfloat16 where the machine multiplies pairs.
#pragma once

#include "isa.h"

#if defined(VLLM_LOCAL_SANITIZE)
#define VLLM_LOCAL_UNROLL  // unrolled checks take minutes to compile
#elif defined(__clang__)
#define VLLM_LOCAL_UNROLL _Pragma("unroll")
#else
#define VLLM_LOCAL_UNROLL _Pragma("GCC unroll 16")
#endif

// A loop over inputs. AVX2's tiles are small, and what a turn of the loop costs shows.
#if defined(VLLM_LOCAL_SANITIZE) || !defined(__AVX2__) || defined(__AVX512F__)
#define VLLM_LOCAL_UNROLL_STEPS
#elif defined(__clang__)
#define VLLM_LOCAL_UNROLL_STEPS _Pragma("unroll 4")
#else
#define VLLM_LOCAL_UNROLL_STEPS _Pragma("GCC unroll 4")
#endif

namespace vllm_local {
namespace {

template <typename Isa>
constexpr int kPanelColumns = Isa::kWidth * Isa::kPanelVectors;

template <typename Isa, typename Number>
constexpr bool kIsPaired = Isa::kDotsBfloat16 && sizeof(Number) == sizeof(bfloat16);

// Multiplies in float32. A panel's step is one input's weights; in bfloat16 two vectors share their words, one in the
// lower halves and one in the upper ones.
template <typename Machine, typename Number, bool is_paired = kIsPaired<Machine, Number>>
struct Format {
  using Isa = Machine;
  using Weight = Number;
  using Step = float;
  using Loaded = typename Isa::Vector;
  static constexpr int kInputsPerStep = 1;

  VLLM_LOCAL_INLINE void load(const float* source, Loaded* weights) {
    VLLM_LOCAL_UNROLL
    for (int v = 0; v < Isa::kPanelVectors; v++) weights[v] = Isa::load(source + v * Isa::kWidth);
  }
  VLLM_LOCAL_INLINE void load(const bfloat16* source, Loaded* weights) {
    VLLM_LOCAL_UNROLL
    for (int v = 0; v < Isa::kPanelVectors; v += 2) {
      Isa::load_halves(source + v * Isa::kWidth, weights + v, weights + v + 1);
    }
  }
  VLLM_LOCAL_INLINE Loaded broadcast(Step input) { return Isa::broadcast(input); }
  VLLM_LOCAL_INLINE typename Isa::Vector multiply(Loaded weight, Loaded input, typename Isa::Vector sum) {
    return Isa::fma(weight, input, sum);
  }

  // Where a panel's step keeps the weight of a column and an input of the step (there is one).
  VLLM_LOCAL_INLINE int place(int column, int) {
    if (sizeof(Weight) == sizeof(float)) return column;
    const int pair = column / (2 * Isa::kWidth), within = column % (2 * Isa::kWidth);
    return pair * 2 * Isa::kWidth + within % Isa::kWidth * 2 + within / Isa::kWidth;
  }

  template <typename Input>
  VLLM_LOCAL_INLINE Step step(const Input* row, int64_t index) {
    return to_float(row[index]);
  }
  // For steps of several inputs, of which the last one has fewer.
  template <typename Input>
  VLLM_LOCAL_INLINE Step last_step(const Input* row, int64_t index) {
    return step(row, index);
  }
};

// Multiplies pairs of bfloat16. A panel's step is the weights of two inputs, side by side for each column.
template <typename Machine>
struct Format<Machine, bfloat16, true> {
  using Isa = Machine;
  using Weight = bfloat16;
  using Step = uint32_t;
  using Loaded = typename Isa::Pairs;
  static constexpr int kInputsPerStep = 2;

  VLLM_LOCAL_INLINE void load(const bfloat16* source, Loaded* weights) {
    VLLM_LOCAL_UNROLL
    for (int v = 0; v < Isa::kPanelVectors; v++) weights[v] = Isa::load_pairs(source + 2 * v * Isa::kWidth);
  }
  VLLM_LOCAL_INLINE Loaded broadcast(Step input) { return Isa::broadcast_pair(input); }
  VLLM_LOCAL_INLINE typename Isa::Vector multiply(Loaded weights, Loaded inputs, typename Isa::Vector sum) {
    return Isa::dot(weights, inputs, sum);
  }

  VLLM_LOCAL_INLINE int place(int column, int input) { return 2 * column + input; }

  VLLM_LOCAL_INLINE Step step(const bfloat16* row, int64_t index) {
    Step result;
    memcpy(&result, row + 2 * index, sizeof(result));
    return result;
  }
  VLLM_LOCAL_INLINE Step step(const float* row, int64_t index) {
    bfloat16 pair[2];
    from_float(row[2 * index], pair);
    from_float(row[2 * index + 1], pair + 1);
    return step(pair, 0);
  }
  // The step of the last one of an odd number of inputs: zero is beside it.
  template <typename Input>
  VLLM_LOCAL_INLINE Step last_step(const Input* row, int64_t index) {
    bfloat16 pair[2] = {};
    from_float(to_float(row[2 * index]), pair);
    return step(pair, 0);
  }
};

}  // namespace
}  // namespace vllm_local
