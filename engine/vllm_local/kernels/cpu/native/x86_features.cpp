// Asks the processor itself: the compilers' own `__builtin_cpu_supports` takes a run-time library that clang-cl does not
// link. Bits are those of Intel's manual, volume 2A, CPUID.
#include "x86_features.h"

#include <cstdint>

namespace vllm_local {
namespace {

struct Registers {
  uint32_t eax, ebx, ecx, edx;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers result;
  asm volatile("cpuid"
               : "=a"(result.eax), "=b"(result.ebx), "=c"(result.ecx), "=d"(result.edx)
               : "a"(leaf), "c"(subleaf));
  return result;
}

// Which registers the system saves when it switches threads; the processor must have XGETBV.
uint32_t saved_registers() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

constexpr uint32_t bits(int first) { return 1u << first; }

template <typename... Rest>
constexpr uint32_t bits(int first, Rest... rest) {
  return bits(first) | bits(rest...);
}

bool has_all(uint32_t value, uint32_t wanted) { return (value & wanted) == wanted; }

}  // namespace

X86Features x86_features() {
  X86Features features = {};
  const uint32_t num_leaves = cpuid(0, 0).eax;
  // FMA, OSXSAVE, AVX, F16C
  if (num_leaves < 7 || !has_all(cpuid(1, 0).ecx, bits(12, 27, 28, 29))) return features;
  const uint32_t saved = saved_registers();
  const Registers extended = cpuid(7, 0);
  // The system saves XMM and YMM; AVX2.
  features.avx2 = has_all(saved, bits(1, 2)) && has_all(extended.ebx, bits(5));
  // It saves masks and both parts of ZMM; AVX512F, DQ, BW, VL.
  features.avx512 = features.avx2 && has_all(saved, bits(5, 6, 7)) && has_all(extended.ebx, bits(16, 17, 30, 31));
  features.avx512_bf16 = features.avx512 && extended.eax >= 1 && has_all(cpuid(7, 1).eax, bits(5));
  return features;
}

}  // namespace vllm_local
