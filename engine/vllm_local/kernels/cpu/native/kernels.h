// All kernels for one instruction set.
#pragma once

#include "isa.h"
#include "kernel_table.h"
#include "norm.h"

namespace vllm_local {
namespace {

template <typename Isa>
KernelTable make_table(const char* isa) {
  KernelTable table = {};
  table.isa = isa;
  table.norm = norm<Isa>;
  return table;
}

}  // namespace
}  // namespace vllm_local
