#include "kernels.h"

vllm_local::KernelTable vllm_local::avx512_bf16_kernels() { return make_table<Avx512Bf16>("avx512_bf16"); }
