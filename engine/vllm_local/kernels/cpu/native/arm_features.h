// Which of this library's instruction sets an Arm processor offers beyond those that each has.
#pragma once

namespace vllm_local {

bool has_bfloat16_products();

}  // namespace vllm_local
