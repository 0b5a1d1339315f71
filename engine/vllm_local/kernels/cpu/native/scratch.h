// Memory of the calling thread for intermediate results; it grows to the largest need and is kept.
#pragma once

#include <stddef.h>

namespace vllm_local {

// Which of a thread's buffers; a function must not take one that its caller still uses.
enum class Scratch { kInput, kSums, kWeights, kAttention };

// Returns at least `bytes` bytes, aligned to a cache line, whose contents are whatever was there.
void* scratch(Scratch buffer, size_t bytes);

}  // namespace vllm_local
