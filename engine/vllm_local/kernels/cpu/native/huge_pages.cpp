#include "api.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__linux__)
void vllm_local_advise_huge_pages(void* memory, int64_t bytes) {
  constexpr uintptr_t kHugePage = 2 << 20;
  const uintptr_t address = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t begin = (address + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t end = (address + bytes) / kHugePage * kHugePage;
  // A kernel without huge pages refuses; ordinary ones are then what there is.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}
#else
void vllm_local_advise_huge_pages(void*, int64_t) {}
#endif
