// Whether a processor's products of bfloat16 are worth to have.
#pragma once

namespace vllm_local {

// Some processors take so long for one that to widen the numbers and multiply them as floats is faster. Takes some
// tenths of a millisecond; the processor must have the products.
bool multiplies_bfloat16_fast();

}  // namespace vllm_local
