// Routing of rows to the experts of a mixture. Nothing here depends on the instruction set.
#pragma once

#include "api.h"

namespace vllm_local {

void route(const RouteArguments& arguments);

}  // namespace vllm_local
