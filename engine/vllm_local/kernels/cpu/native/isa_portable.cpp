#include "kernels.h"

vllm_local::KernelTable vllm_local::portable_kernels() { return make_table<Portable>("portable"); }
