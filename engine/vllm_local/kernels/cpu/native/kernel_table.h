// One function pointer a kernel: what each isa_*.cpp exports, and what dispatch.cpp chooses from.
#pragma once

#include "api.h"
#include "attention_plan.h"
#include "sampling_rows.h"

namespace vllm_local {

struct KernelTable {
  const char* isa;
  void (*norm)(const NormArguments&);
  int64_t (*packed_columns)(int64_t out_features, bool is_gated);
  int64_t (*packed_bytes)(const PackArguments&);
  void (*pack)(const PackArguments&);
  void (*linear)(const LinearArguments&);
  void (*grouped_linear)(const GroupedLinearArguments&);
  void (*combine)(const CombineArguments&);
  void (*embed)(const EmbedArguments&);
  void (*rotate_and_cache)(const RotateArguments&);
  ItemKernel attend_item;
  ItemKernel combine_item;
  SamplingKernels sampling;
};

KernelTable portable_kernels();
KernelTable avx2_kernels();
KernelTable avx512_kernels();
KernelTable avx512_bf16_kernels();
KernelTable neon_kernels();
KernelTable neon_bf16_kernels();

}  // namespace vllm_local
