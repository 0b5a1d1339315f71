#include "kernels.h"

vllm_local::KernelTable vllm_local::neon_kernels() { return make_table<Neon>("neon"); }
