// Token embedding: rows of a table, as float32.
#pragma once

#include "api.h"
#include "isa.h"
#include "thread_pool.h"

namespace vllm_local {
namespace {

template <typename Isa, typename Number>
void widen_row(const Number* source, float* target, int64_t size) {
  int64_t i = 0;
  for (; i + Isa::kWidth <= size; i += Isa::kWidth) Isa::store(target + i, Isa::load(source + i));
  for (; i < size; i++) target[i] = to_float(source[i]);
}

template <typename Isa>
void embed(const EmbedArguments& arguments) {
  parallel([&](int thread, int num_threads) {
    const Share rows = share_of(arguments.num_rows, thread, num_threads);
    for (int64_t row = rows.begin; row < rows.end; row++) {
      const int64_t at = arguments.token_ids[row] * arguments.size;
      float* output = arguments.output + row * arguments.size;
      if (arguments.dtype == DTYPE_BFLOAT16) {
        widen_row<Isa>(static_cast<const bfloat16*>(arguments.table) + at, output, arguments.size);
      } else {
        widen_row<Isa>(static_cast<const float*>(arguments.table) + at, output, arguments.size);
      }
    }
  });
}

}  // namespace
}  // namespace vllm_local
