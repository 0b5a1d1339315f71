// Which of this library's instruction sets an x86 processor and its system offer.
#pragma once

namespace vllm_local {

struct X86Features {
  bool avx2;         // with FMA and F16C
  bool avx512;       // F, BW, VL and DQ, with AVX2
  bool avx512_bf16;  // with those
};

X86Features x86_features();

}  // namespace vllm_local
