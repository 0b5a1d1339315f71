// How attention multiplies queries with keys, and weights with values: number by number in float32, or in pairs of
// bfloat16 where the machine multiplies those.
#pragma once

#include <cstring>

#include "isa.h"

namespace vllm_local {
namespace {

template <typename Machine, typename Number, bool is_paired>
struct Products {
  using Isa = Machine;
  using Weight = float;
  using Factor = float;  // what a query or a weight brings to a step
  using Loaded = typename Isa::Vector;
  static constexpr int kNumbersPerStep = 1;

  VLLM_LOCAL_INLINE Loaded load(const Number* numbers, const Number*) { return Isa::load(numbers); }
  VLLM_LOCAL_INLINE Loaded broadcast(Factor factor) { return Isa::broadcast(factor); }
  VLLM_LOCAL_INLINE typename Isa::Vector multiply(Loaded factor, Loaded numbers, typename Isa::Vector sum) {
    return Isa::fma(factor, numbers, sum);
  }
  template <typename Source>
  VLLM_LOCAL_INLINE Factor factor(const Source* source) {
    return to_float(*source);
  }
};

// A step is two numbers of a head, or two keys. Queries, keys and values are bfloat16 anyway; weights are rounded to it.
template <typename Machine>
struct Products<Machine, bfloat16, true> {
  using Isa = Machine;
  using Weight = bfloat16;
  using Factor = uint32_t;
  using Loaded = typename Isa::Pairs;
  static constexpr int kNumbersPerStep = 2;

  VLLM_LOCAL_INLINE Loaded load(const bfloat16* first, const bfloat16* second) { return Isa::interleave(first, second); }
  VLLM_LOCAL_INLINE Loaded broadcast(Factor factor) { return Isa::broadcast_pair(factor); }
  VLLM_LOCAL_INLINE typename Isa::Vector multiply(Loaded factors, Loaded numbers, typename Isa::Vector sum) {
    return Isa::dot(factors, numbers, sum);
  }
  VLLM_LOCAL_INLINE Factor factor(const bfloat16* source) {
    Factor pair;
    std::memcpy(&pair, source, sizeof(pair));
    return pair;
  }
};

}  // namespace
}  // namespace vllm_local
