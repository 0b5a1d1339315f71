// All kernels for one instruction set.
#pragma once

#include "attention.h"
#include "embedding.h"
#include "experts.h"
#include "isa.h"
#include "kernel_table.h"
#include "linear.h"
#include "linear_packing.h"
#include "norm.h"
#include "rotary.h"
#include "sampling.h"

namespace vllm_local {
namespace {

template <typename Isa>
KernelTable make_table(const char* isa) {
  KernelTable table = {};
  table.isa = isa;
  table.norm = norm<Isa>;
  table.packed_columns = packed_columns<Isa>;
  table.packed_bytes = packed_bytes<Isa>;
  table.pack = pack<Isa>;
  table.linear = linear<Isa>;
  table.experts = experts<Isa>;
  table.embed = embed<Isa>;
  table.rotate_and_cache = rotate_and_cache<Isa>;
  table.attend_item = attend_item<Isa>;
  table.combine_item = combine_item<Isa>;
  table.sampling = sampling_kernels<Isa>();
  return table;
}

}  // namespace
}  // namespace vllm_local
