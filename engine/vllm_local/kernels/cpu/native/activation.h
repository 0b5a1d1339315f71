// Activations of the feed-forward network on one vector. NaN stays NaN.
#pragma once

#include "api.h"
#include "isa.h"

namespace vllm_local {
namespace {

// x / (1 + e^-x)
template <typename Isa>
VLLM_LOCAL_INLINE typename Isa::Vector silu(typename Isa::Vector x) {
  const typename Isa::Vector one = Isa::broadcast(1.0f);
  return Isa::divide(x, Isa::add(one, exponential<Isa>(Isa::subtract(Isa::broadcast(0.0f), x))));
}

// x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³))), which is x / (1 + e^-2t) for that t.
template <typename Isa>
VLLM_LOCAL_INLINE typename Isa::Vector gelu_tanh(typename Isa::Vector x) {
  using Vector = typename Isa::Vector;
  const Vector cubic = Isa::fma(Isa::multiply(x, x), Isa::broadcast(0.044715f), Isa::broadcast(1.0f));
  const Vector t = Isa::multiply(Isa::multiply(x, cubic), Isa::broadcast(-1.5957691216057308f));
  return Isa::divide(x, Isa::add(Isa::broadcast(1.0f), exponential<Isa>(t)));
}

// x · Φ(x). The error function's complement is a polynomial in 1 / (1 + p |x|) times e^-x² to 1.5e-7 (Abramowitz and
// Stegun, 7.1.26).
template <typename Isa>
VLLM_LOCAL_INLINE typename Isa::Vector gelu(typename Isa::Vector x) {
  using Vector = typename Isa::Vector;
  const Vector zero = Isa::broadcast(0.0f), one = Isa::broadcast(1.0f);
  const Vector magnitude = Isa::multiply(Isa::maximum(Isa::subtract(zero, x), x), Isa::broadcast(0.70710678118654752f));
  const Vector t = Isa::divide(one, Isa::fma(magnitude, Isa::broadcast(0.3275911f), one));
  Vector series = Isa::broadcast(1.061405429f);
  series = Isa::fma(series, t, Isa::broadcast(-1.453152027f));
  series = Isa::fma(series, t, Isa::broadcast(1.421413741f));
  series = Isa::fma(series, t, Isa::broadcast(-0.284496736f));
  series = Isa::fma(series, t, Isa::broadcast(0.254829592f));
  const Vector gauss = exponential<Isa>(Isa::subtract(zero, Isa::multiply(magnitude, magnitude)));
  const Vector complement = Isa::multiply(Isa::multiply(series, t), gauss);
  // x Φ(x) = max(x, 0) - |x| / 2 · erfc(|x| / √2), whichever sign x has.
  const Vector half = Isa::multiply(Isa::multiply(magnitude, Isa::broadcast(0.70710678118654752f)), complement);
  return Isa::subtract(Isa::maximum(zero, x), half);
}

template <typename Isa>
VLLM_LOCAL_INLINE typename Isa::Vector activate(typename Isa::Vector x, int activation) {
  switch (activation) {
    case ACTIVATION_SILU:
      return silu<Isa>(x);
    case ACTIVATION_GELU:
      return gelu<Isa>(x);
    case ACTIVATION_GELU_TANH:
      return gelu_tanh<Isa>(x);
    case ACTIVATION_RELU:
      return Isa::maximum(Isa::broadcast(0.0f), x);
    default:
      return x;
  }
}

}  // namespace
}  // namespace vllm_local
