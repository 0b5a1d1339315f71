// How attention multiplies queries with keys, and weights with values: as linear layers multiply inputs with weights.
#pragma once

#include <type_traits>

#include "linear_format.h"

namespace vllm_local {
namespace {

// In pairs, a step is two numbers of a head, or two keys. Queries, keys and values are bfloat16 anyway; what softmax
// leaves as weights is rounded to it.
template <typename Machine, typename Number, bool is_paired>
struct Products : Format<Machine, Number, is_paired> {
  using Base = Format<Machine, Number, is_paired>;
  using Weight = std::conditional_t<is_paired, Number, float>;

  // Keys or values of one step; those of its second number are not neighbours of the first's.
  VLLM_LOCAL_INLINE typename Base::Loaded load(const Number* first, [[maybe_unused]] const Number* second) {
    if constexpr (is_paired) {
      return Machine::interleave(first, second);
    } else {
      return Machine::load(first);
    }
  }

  // What a query or the weights bring to a step.
  template <typename Source>
  VLLM_LOCAL_INLINE typename Base::Step factor(const Source* source) {
    return Base::step(source, 0);
  }
};

}  // namespace
}  // namespace vllm_local
