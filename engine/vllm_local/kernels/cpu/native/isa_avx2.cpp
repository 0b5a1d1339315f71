#include "kernels.h"

vllm_local::KernelTable vllm_local::avx2_kernels() { return make_table<Avx2>("avx2"); }
