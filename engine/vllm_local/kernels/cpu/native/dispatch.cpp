// Chooses an instruction set when the library is loaded, and forwards the C interface to its kernels.
#include <atomic>
#include <cstring>

#include "api.h"
#include "kernel_table.h"
#include "routing.h"
#include "thread_pool.h"

#if defined(VLLM_LOCAL_X86)
#include "bfloat16_speed.h"
#include "x86_features.h"
#elif defined(VLLM_LOCAL_NEON)
#include "arm_features.h"
#include "bfloat16_speed.h"
#endif

namespace vllm_local {
namespace {

#if defined(VLLM_LOCAL_AVX512_BF16) || defined(VLLM_LOCAL_NEON_BF16)
// Adds kernels that multiply floats and those that multiply bfloat16, the faster ones first; returns how many these are.
int add_both(KernelTable* found, KernelTable of_floats, KernelTable of_bfloat16) {
  const bool is_fast = multiplies_bfloat16_fast();
  found[is_fast ? 1 : 0] = of_floats;
  found[is_fast ? 0 : 1] = of_bfloat16;
  return 2;
}
#endif

// Fastest first; the machine's own come before the one that runs everywhere.
const KernelTable* tables(int* count) {
  static KernelTable found[4];
  static const int num_found = [] {
    int number = 0;
#if defined(VLLM_LOCAL_X86)
    const X86Features features = x86_features();
    bool has_products = false;
#if defined(VLLM_LOCAL_AVX512_BF16)
    has_products = features.avx512_bf16;
    if (has_products) number += add_both(found, avx512_kernels(), avx512_bf16_kernels());
#endif
    if (features.avx512 && !has_products) found[number++] = avx512_kernels();
    if (features.avx2) found[number++] = avx2_kernels();
#elif defined(VLLM_LOCAL_NEON)
    bool has_products = false;
#if defined(VLLM_LOCAL_NEON_BF16)
    has_products = has_bfloat16_products();
    if (has_products) number += add_both(found, neon_kernels(), neon_bf16_kernels());
#endif
    if (!has_products) found[number++] = neon_kernels();
#endif
    found[number++] = portable_kernels();
    return number;
  }();
  *count = num_found;
  return found;
}

std::atomic<const KernelTable*>& current() {
  static int count;
  static std::atomic<const KernelTable*> table{tables(&count)};
  return table;
}

const KernelTable& kernels() { return *current().load(std::memory_order_relaxed); }

}  // namespace
}  // namespace vllm_local

using vllm_local::kernels;

int vllm_local_api_version(void) { return VLLM_LOCAL_API_VERSION; }

const char* vllm_local_isa(void) { return kernels().isa; }

int vllm_local_use_isa(const char* name) {
  int count;
  const vllm_local::KernelTable* found = vllm_local::tables(&count);
  for (int i = 0; i < count; i++) {
    if (std::strcmp(found[i].isa, name) != 0) continue;
    vllm_local::current().store(found + i);
    return 1;
  }
  return 0;
}

void vllm_local_set_num_threads(int num_threads) { vllm_local::set_num_threads(num_threads); }

int vllm_local_num_threads(void) { return vllm_local::num_threads(); }

void vllm_local_norm(const NormArguments* arguments) { kernels().norm(*arguments); }

void vllm_local_rotate_and_cache(const RotateArguments* arguments) { kernels().rotate_and_cache(*arguments); }

void vllm_local_attend(const AttendArguments* arguments) {
  vllm_local::attend(*arguments, kernels().attend_item, kernels().combine_item);
}

int64_t vllm_local_packed_columns(int64_t out_features, int32_t gated) {
  return kernels().packed_columns(out_features, gated != 0);
}

int64_t vllm_local_packed_bytes(const PackArguments* arguments) { return kernels().packed_bytes(*arguments); }

void vllm_local_pack(const PackArguments* arguments) { kernels().pack(*arguments); }

void vllm_local_linear(const LinearArguments* arguments) { kernels().linear(*arguments); }

void vllm_local_route(const RouteArguments* arguments) { vllm_local::route(*arguments); }

void vllm_local_grouped_linear(const GroupedLinearArguments* arguments) { kernels().grouped_linear(*arguments); }

void vllm_local_combine(const CombineArguments* arguments) { kernels().combine(*arguments); }

void vllm_local_embed(const EmbedArguments* arguments) { kernels().embed(*arguments); }

void vllm_local_sample(const SampleArguments* arguments) { vllm_local::sample(*arguments, kernels().sampling); }

void vllm_local_describe(const DescribeArguments* arguments) { vllm_local::describe(*arguments, kernels().sampling); }
