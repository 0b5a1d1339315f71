#include "bfloat16_speed.h"

#include <algorithm>
#include <chrono>

#include "isa.h"

namespace vllm_local {
namespace {

#if defined(VLLM_LOCAL_NEON)
using Floats = Neon;
using Products = NeonBf16;
#else
using Floats = Avx512;
using Products = Avx512Bf16;
#endif

// As many as hide an instruction's latency behind two a cycle.
constexpr int kChains = 12;
// A round takes some ten microseconds, which is seldom interrupted.
constexpr int kSteps = 1000;
constexpr int kRounds = 8;
// Where both are about as fast, whoever asks again must get the same answer, since results differ in their last bits.
constexpr double kSlowest = 0.75;

// Keeps the compiler from knowing a value.
void hide(Floats::Vector& value) {
#if defined(VLLM_LOCAL_NEON)
  asm volatile("" : "+w"(value));
#else
  asm volatile("" : "+v"(value));
#endif
}

template <typename Step>
double seconds_of(const Step& step) {
  Floats::Vector sums[kChains];
  for (auto& sum : sums) {
    sum = Floats::broadcast(0.0f);
    hide(sum);  // else all of them are the same, and computed once
  }
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kSteps; i++) {
#pragma GCC unroll 12
    for (int chain = 0; chain < kChains; chain++) sums[chain] = step(sums[chain]);
  }
  for (auto& sum : sums) hide(sum);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

bool multiplies_bfloat16_fast() {
  Floats::Vector number = Floats::broadcast(1.0f);
  hide(number);
  const Products::Pairs pairs = (Products::Pairs)number;
  double of_pairs = 1.0, of_floats = 1.0;
  for (int round = 0; round < kRounds; round++) {
    const auto dot = [&](Floats::Vector sum) { return Products::dot(pairs, pairs, sum); };
    const auto multiply_add = [&](Floats::Vector sum) { return Floats::fma(number, number, sum); };
    of_pairs = std::min(of_pairs, seconds_of(dot));
    of_floats = std::min(of_floats, seconds_of(multiply_add));
  }
  // One has two products a lane, the other one.
  return 2.0 / of_pairs >= kSlowest * (1.0 / of_floats);
}

}  // namespace vllm_local
