// Linear layers on packed weights: from one row (bound by the weights' bytes) to thousands (bound by multiply-adds).
//
// Every result is one chain of multiply-adds over the inputs in their order. Blocks of inputs only interrupt the chain:
// its sum goes to memory in float32 and comes back. Hence no result depends on the rows beside it, nor on the threads.
#pragma once

#include "activation.h"
#include "api.h"
#include "isa.h"
#include "linear_format.h"
#include "linear_packing.h"
#include "scratch.h"
#include "thread_pool.h"

namespace vllm_local {
namespace {

// Tiles of a turn that are so few that the next block has to arrive beside their work.
constexpr int64_t kFewTiles = 3;

// Bytes of inputs that meet all weights before the next rows' turn.
constexpr int64_t kInputBytes = 2 << 20;

constexpr int kMostPanelsAtOnce = 4;

// Panels that few rows are multiplied with at once: as many sums as registers, as one chain waits for its last link.
template <typename Isa>
constexpr int panels_at_once(int rows) {
  const int panels = Isa::kTileRows / rows;
  return panels < 1 ? 1 : panels > kMostPanelsAtOnce ? kMostPanelsAtOnce : panels;
}

// Weights of one panel that are fetched ahead while a few rows are multiplied with it: the machine itself looks less far.
constexpr int64_t kBytesAhead = 8 << 10;

constexpr int64_t kLineBytes = 64;

template <typename F>
constexpr int64_t kStepBytes = F::kInputsPerStep * kPanelColumns<typename F::Isa> * sizeof(typename F::Weight);

// Lines of memory that a panel's step begins.
template <typename F>
constexpr int kStepLines = kStepBytes<F> > kLineBytes ? static_cast<int>(kStepBytes<F> / kLineBytes) : 1;

// Sums [Panels][Rows][columns] of inputs [steps][Rows] times weights [steps][columns] of neighbouring panels, in
// addition to what is there already if it continues. So many lines a step, from `ahead` on, are fetched meanwhile.
template <typename F, int Rows, int Panels, int Lines>
void multiply_tile(const typename F::Step* inputs, const typename F::Weight* weights, int64_t panel_size, int64_t steps,
                   const char* ahead, bool continues, float* sums) {
  using Isa = typename F::Isa;
  constexpr int kVectors = Isa::kPanelVectors, kColumns = kPanelColumns<Isa>;
  typename Isa::Vector sum[Panels][Rows][kVectors];
  VLLM_LOCAL_UNROLL
  for (int i = 0; i < Panels * Rows * kVectors; i++) {
    (&sum[0][0][0])[i] = continues ? Isa::load(sums + i * Isa::kWidth) : Isa::broadcast(0.0f);
  }
  VLLM_LOCAL_UNROLL_STEPS
  for (int64_t step = 0; step < steps; step++) {
    VLLM_LOCAL_UNROLL
    for (int panel = 0; panel < Panels; panel++) {
      typename F::Loaded weight[kVectors];
      F::load(weights + panel * panel_size, weight);
      VLLM_LOCAL_UNROLL
      for (int row = 0; row < Rows; row++) {
        const typename F::Loaded input = F::broadcast(inputs[row]);
        VLLM_LOCAL_UNROLL
        for (int v = 0; v < kVectors; v++) sum[panel][row][v] = F::multiply(weight[v], input, sum[panel][row][v]);
      }
    }
    VLLM_LOCAL_UNROLL
    for (int line = 0; line < Lines; line++) __builtin_prefetch(ahead + line * kLineBytes);
    inputs += Rows;
    weights += F::kInputsPerStep * kColumns;
    if constexpr (Lines > 0) ahead += kStepBytes<F>;
  }
  VLLM_LOCAL_UNROLL
  for (int i = 0; i < Panels * Rows * kVectors; i++) Isa::store(sums + i * Isa::kWidth, (&sum[0][0][0])[i]);
}

// The same for any number of rows up to a tile, and `Lines` or no lines to fetch; `at_once` panels, or one.
template <typename F, int Lines, int Rows = 1>
VLLM_LOCAL_INLINE void multiply_rows(int rows, bool at_once, const typename F::Step* inputs,
                                     const typename F::Weight* weights, int64_t panel_size, int64_t steps,
                                     const char* ahead, bool continues, float* sums) {
  if constexpr (Rows <= F::Isa::kTileRows) {
    constexpr int kPanels = panels_at_once<typename F::Isa>(Rows);
    if (rows != Rows) {
      multiply_rows<F, Lines, Rows + 1>(rows, at_once, inputs, weights, panel_size, steps, ahead, continues, sums);
    } else if (at_once && kPanels > 1) {
      // Several panels are several streams, which the machine follows well by itself.
      multiply_tile<F, Rows, kPanels, 0>(inputs, weights, panel_size, steps, nullptr, continues, sums);
    } else if (ahead != nullptr) {
      multiply_tile<F, Rows, 1, Lines>(inputs, weights, panel_size, steps, ahead, continues, sums);
    } else {
      multiply_tile<F, Rows, 1, 0>(inputs, weights, panel_size, steps, nullptr, continues, sums);
    }
  }
}

template <typename Isa>
VLLM_LOCAL_INLINE typename Isa::Vector load_output(const LinearArguments& arguments, int64_t at, int64_t count) {
  const float* source = static_cast<const float*>(arguments.output) + at;
  return count >= Isa::kWidth ? Isa::load(source) : load_partial<Isa>(source, count);
}

template <typename Isa, typename Number>
VLLM_LOCAL_INLINE void store_output(Number* target, typename Isa::Vector a, int64_t count) {
  if (count >= Isa::kWidth) return Isa::store(target, a);
  store_partial<Isa>(target, a, count);
}

// Takes a row's sums over one panel to its results.
template <typename Isa>
void finish_row(const LinearArguments& arguments, const float* sums, int64_t row, int64_t panel) {
  constexpr int kVectors = Isa::kPanelVectors, kColumns = kPanelColumns<Isa>;
  const float* bias = arguments.bias == nullptr ? nullptr : arguments.bias + panel * kColumns;
  const auto biased = [&](int v) {
    const typename Isa::Vector sum = Isa::load(sums + v * Isa::kWidth);
    return bias == nullptr ? sum : Isa::add(sum, Isa::load(bias + v * Isa::kWidth));
  };
  const int num_vectors = arguments.gated ? kVectors / 2 : kVectors;
  const int64_t num_results = arguments.gated ? arguments.out_features / 2 : arguments.out_features;
  for (int v = 0; v < num_vectors; v++) {
    const int64_t column = (panel * num_vectors + v) * Isa::kWidth, left = num_results - column;
    if (left <= 0) return;
    typename Isa::Vector result = activate<Isa>(biased(v), arguments.activation);
    if (arguments.gated) result = Isa::multiply(result, biased(v + kVectors / 2));
    if (arguments.scale != 1.0f) result = Isa::multiply(result, Isa::broadcast(arguments.scale));
    const int64_t at = row * arguments.output_stride + column;
    if (arguments.adds) result = Isa::add(load_output<Isa>(arguments, at, left), result);
    if (arguments.output_dtype == DTYPE_BFLOAT16) {
      store_output<Isa>(static_cast<bfloat16*>(arguments.output) + at, result, left);
    } else {
      store_output<Isa>(static_cast<float*>(arguments.output) + at, result, left);
    }
  }
}

// Asks for the memory of some rows' results over one panel, which those that are added to would wait for.
template <typename Isa>
void fetch_outputs(const LinearArguments& arguments, int64_t first, int count, int64_t panel) {
  const int64_t columns = arguments.gated ? kPanelColumns<Isa> / 2 : kPanelColumns<Isa>;
  const int64_t size = arguments.output_dtype == DTYPE_BFLOAT16 ? sizeof(bfloat16) : sizeof(float);
  for (int64_t row = first; row < first + count; row++) {
    const char* results = static_cast<const char*>(arguments.output);
    results += (row * arguments.output_stride + panel * columns) * size;
    for (int64_t at = 0; at < columns * size; at += kLineBytes) __builtin_prefetch(results + at, 1);
  }
}

// Steps of all rows of a tile that are packed before the next ones: what they are written to stays in the first cache.
constexpr int64_t kStepsPacked = 64;

// Rows first … first + count, interleaved step by step, so that a tile reads them from front to back.
template <typename F>
void pack_inputs(const LinearArguments& arguments, int64_t first, int count, typename F::Step* packed) {
  const int64_t whole_steps = arguments.in_features / F::kInputsPerStep;
  const int64_t steps = ceil_divide(arguments.in_features, F::kInputsPerStep);
  const auto pack_row = [&](const auto* row, typename F::Step* target, int64_t begin, int64_t end) {
    const int64_t whole_end = end < whole_steps ? end : whole_steps;
    for (int64_t step = begin; step < whole_end; step++) target[step * count] = F::step(row, step);
    if (whole_end < end) target[whole_steps * count] = F::last_step(row, whole_steps);
  };
  for (int64_t begin = 0; begin < steps; begin += kStepsPacked) {
    const int64_t end = begin + kStepsPacked < steps ? begin + kStepsPacked : steps;
    for (int i = 0; i < count; i++) {
      const int64_t row = arguments.input_rows == nullptr ? first + i : arguments.input_rows[first + i];
      const int64_t at = row * arguments.input_stride;
      if (arguments.input_dtype == DTYPE_BFLOAT16) {
        pack_row(static_cast<const bfloat16*>(arguments.input) + at, packed + i, begin, end);
      } else {
        pack_row(static_cast<const float*>(arguments.input) + at, packed + i, begin, end);
      }
    }
  }
}

// At most a tile of rows times some of the panels, on the calling thread; the inputs are packed.
template <typename F>
void multiply_panels(const LinearArguments& arguments, const typename F::Step* inputs, const Share& panels) {
  using Isa = typename F::Isa;
  constexpr int kColumns = kPanelColumns<Isa>;
  const int rows = static_cast<int>(arguments.num_rows);
  const int64_t size = panel_size<F>(arguments.in_features);
  const int64_t steps = ceil_divide(arguments.in_features, F::kInputsPerStep);
  const auto* weights = static_cast<const typename F::Weight*>(arguments.weight);
  const int at_once = panels_at_once<Isa>(rows);
  alignas(64) float sums[Isa::kTileRows * kMostPanelsAtOnce * kColumns];
  for (int64_t panel = panels.begin; panel < panels.end;) {
    const bool all = panels.end - panel >= at_once;
    const auto* ahead = reinterpret_cast<const char*>(weights + panel * size) + kBytesAhead;
    multiply_rows<F, kStepLines<F>>(rows, all, inputs, weights + panel * size, size, steps, ahead, false, sums);
    const int64_t end = panel + (all ? at_once : 1);
    for (const float* sum = sums; panel < end; panel++) {
      for (int row = 0; row < rows; row++, sum += kColumns) finish_row<Isa>(arguments, sum, row, panel);
    }
  }
}

// Returns at most a tile of rows in the memory of the calling thread.
template <typename F>
const typename F::Step* pack_few_inputs(const LinearArguments& arguments) {
  using Step = typename F::Step;
  const int rows = static_cast<int>(arguments.num_rows);
  const int64_t steps = ceil_divide(arguments.in_features, F::kInputsPerStep);
  auto* inputs = static_cast<Step*>(scratch(Scratch::kInput, rows * steps * sizeof(Step)));
  pack_inputs<F>(arguments, 0, rows, inputs);
  return inputs;
}

// At most a tile of rows: every thread packs the inputs for itself, which costs less than waiting for another.
template <typename F>
void multiply_few_rows(const LinearArguments& arguments) {
  using Isa = typename F::Isa;
  const int64_t panels = packed_columns<Isa>(arguments.out_features, arguments.gated) / kPanelColumns<Isa>;
  const int at_once = panels_at_once<Isa>(static_cast<int>(arguments.num_rows));
  Stretches stretches(panels, at_once, num_threads());
  parallel([&](int, int) {
    const auto* inputs = pack_few_inputs<F>(arguments);
    for (Share share = stretches.take(); share.begin < share.end; share = stretches.take()) {
      multiply_panels<F>(arguments, inputs, share);
    }
  });
}

// Rows of one turn, cut into tiles whose heights differ by one at most.
struct Tiles {
  int64_t first_row;
  int64_t num_rows;
  int64_t count;

  int64_t begin(int64_t tile) const { return num_rows * tile / count; }
  int height(int64_t tile) const { return static_cast<int>(begin(tile + 1) - begin(tile)); }
};

// One panel for all tiles of a turn, block by block.
template <typename F>
void multiply_panel(const LinearArguments& arguments, const Tiles& tiles, const typename F::Step* inputs,
                    int64_t panel) {
  using Isa = typename F::Isa;
  constexpr int kColumns = kPanelColumns<Isa>;
  const int64_t block_bytes = tiles.count > kFewTiles ? Isa::kBlockBytes : Isa::kFewTilesBlockBytes;
  const int64_t steps = ceil_divide(arguments.in_features, F::kInputsPerStep);
  const int64_t blocks = ceil_divide(steps * kColumns * static_cast<int64_t>(sizeof(float)), block_bytes);
  const auto* weights = static_cast<const typename F::Weight*>(arguments.weight);
  weights += panel * panel_size<F>(arguments.in_features);
  auto* sums = static_cast<float*>(scratch(Scratch::kSums, tiles.num_rows * kColumns * sizeof(float)));
  for (int64_t block = 0; block < blocks; block++) {
    const auto [step, end] = share_of(steps, static_cast<int>(block), static_cast<int>(blocks));
    const int64_t length = end - step;
    for (int64_t tile = 0; tile < tiles.count; tile++) {
      const int64_t begin = tiles.begin(tile);
      const int height = tiles.height(tile);
      const auto* first = weights + step * F::kInputsPerStep * kColumns;
      // The last tiles fetch a block to come, a line of each step each, so that the first one does not wait for it.
      const int64_t line = tile - (tiles.count - kStepLines<F>);
      const auto* next = reinterpret_cast<const char*>(first) + Isa::kBlocksAhead * length * kStepBytes<F>;
      const bool is_last = end == steps;
      if (is_last) fetch_outputs<Isa>(arguments, tiles.first_row + begin, height, panel);
      multiply_rows<F, 1>(height, false, inputs + begin * steps + step * height, first, 0, length,
                          line < 0 ? nullptr : next + line * kLineBytes, step > 0, sums + begin * kColumns);
      if (!is_last) continue;
      for (int64_t row = begin; row < begin + height; row++) {
        finish_row<Isa>(arguments, sums + row * kColumns, tiles.first_row + row, panel);
      }
    }
  }
}

// The threads pack the inputs together, then share the panels.
template <typename F>
void multiply_many_rows(const LinearArguments& arguments, const Tiles& tiles) {
  using Isa = typename F::Isa;
  using Step = typename F::Step;
  const int64_t steps = ceil_divide(arguments.in_features, F::kInputsPerStep);
  const int64_t panels = packed_columns<Isa>(arguments.out_features, arguments.gated) / kPanelColumns<Isa>;
  auto* inputs = static_cast<Step*>(scratch(Scratch::kInput, tiles.num_rows * steps * sizeof(Step)));
  parallel([&](int thread, int num_threads) {
    const Share share = share_of(tiles.count, thread, num_threads);
    for (int64_t tile = share.begin; tile < share.end; tile++) {
      const int64_t begin = tiles.begin(tile);
      pack_inputs<F>(arguments, tiles.first_row + begin, tiles.height(tile), inputs + begin * steps);
    }
  });
  parallel_stretches(panels, 1, [&](const Share& share) {
    for (int64_t panel = share.begin; panel < share.end; panel++) multiply_panel<F>(arguments, tiles, inputs, panel);
  });
}

template <typename F>
void multiply_all(const LinearArguments& arguments) {
  constexpr int64_t kTileRows = F::Isa::kTileRows;
  if (arguments.num_rows <= kTileRows) return multiply_few_rows<F>(arguments);
  const int64_t row_bytes = ceil_divide(arguments.in_features, F::kInputsPerStep) * sizeof(typename F::Step);
  const int64_t tiles_at_once = kInputBytes / (row_bytes * kTileRows) + 1;
  const int64_t turns = ceil_divide(arguments.num_rows, tiles_at_once * kTileRows);
  for (int64_t turn = 0; turn < turns; turn++) {
    const int64_t first = arguments.num_rows * turn / turns, end = arguments.num_rows * (turn + 1) / turns;
    multiply_many_rows<F>(arguments, {first, end - first, ceil_divide(end - first, kTileRows)});
  }
}

template <typename Isa>
void linear(const LinearArguments& arguments) {
  if (arguments.num_rows == 0) return;
  if (arguments.weight_dtype == DTYPE_BFLOAT16) {
    multiply_all<Format<Isa, bfloat16>>(arguments);
  } else {
    multiply_all<Format<Isa, float>>(arguments);
  }
}

}  // namespace
}  // namespace vllm_local
