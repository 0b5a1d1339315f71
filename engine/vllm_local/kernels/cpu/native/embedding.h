// Token embedding: rows of a table, as float32.
#pragma once

#include "api.h"
#include "isa.h"
#include "linear_packing.h"
#include "thread_pool.h"

namespace vllm_local {
namespace {

template <typename Isa, typename Number>
void widen_row(const Number* source, float* target, int64_t size) {
  int64_t i = 0;
  for (; i + Isa::kWidth <= size; i += Isa::kWidth) Isa::store(target + i, Isa::load(source + i));
  for (; i < size; i++) target[i] = to_float(source[i]);
}

// A row of a table that was packed for a linear, which is a column of one of its panels.
template <typename Isa, typename Number>
void widen_column(const EmbedArguments& arguments, int64_t token, float* target) {
  using F = Format<Isa, Number>;
  const auto* panels = static_cast<const Number*>(arguments.table);
  const Number* panel = panels + token / kPanelColumns<Isa> * panel_size<F>(arguments.size);
  const int column = static_cast<int>(token % kPanelColumns<Isa>);
  for (int64_t i = 0; i < arguments.size; i++) target[i] = to_float(panel[place_in_panel<F>(column, i)]);
}

template <typename Isa, typename Number>
void embed_rows(const EmbedArguments& arguments, const Share& rows) {
  for (int64_t row = rows.begin; row < rows.end; row++) {
    const int64_t token = arguments.token_ids[row];
    float* target = arguments.output + row * arguments.size;
    if (arguments.packed) {
      widen_column<Isa, Number>(arguments, token, target);
    } else {
      widen_row<Isa>(static_cast<const Number*>(arguments.table) + token * arguments.size, target, arguments.size);
    }
  }
}

template <typename Isa>
void embed(const EmbedArguments& arguments) {
  parallel_rows(arguments.num_rows, arguments.size, [&](int thread, int num_threads) {
    const Share rows = share_of(arguments.num_rows, thread, num_threads);
    if (arguments.dtype == DTYPE_BFLOAT16) {
      embed_rows<Isa, bfloat16>(arguments, rows);
    } else {
      embed_rows<Isa, float>(arguments, rows);
    }
  });
}

}  // namespace
}  // namespace vllm_local
