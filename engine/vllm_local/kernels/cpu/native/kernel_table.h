// One function pointer a kernel: what each isa_*.cpp exports, and what dispatch.cpp chooses from.
#pragma once

#include "api.h"

namespace vllm_local {

struct KernelTable {
  const char* isa;
  void (*norm)(const NormArguments&);
};

KernelTable portable_kernels();
KernelTable avx2_kernels();
KernelTable avx512_kernels();
KernelTable avx512_bf16_kernels();
KernelTable neon_kernels();

}  // namespace vllm_local
