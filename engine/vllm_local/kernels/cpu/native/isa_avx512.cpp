#include "kernels.h"

vllm_local::KernelTable vllm_local::avx512_kernels() { return make_table<Avx512>("avx512"); }
