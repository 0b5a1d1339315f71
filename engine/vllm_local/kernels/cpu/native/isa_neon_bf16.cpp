#include "kernels.h"

vllm_local::KernelTable vllm_local::neon_bf16_kernels() { return make_table<NeonBf16>("neon_bf16"); }
