// Root-mean-square norm and layer norm, one row at a time.
#pragma once

#include "api.h"
#include "isa.h"
#include "thread_pool.h"

namespace vllm_local {
namespace {

// Sums function(numbers) over a row, in the same order for every row.
template <typename Isa, typename Function>
VLLM_LOCAL_INLINE float sum_row(const float* row, int64_t size, const Function& function) {
  typename Isa::Vector total = Isa::broadcast(0.0f);
  int64_t i = 0;
  for (; i + Isa::kWidth <= size; i += Isa::kWidth) total = Isa::add(total, function(Isa::load(row + i)));
  float sum = Isa::sum(total);
  for (; i < size; i++) {
    float number[Isa::kWidth];
    Isa::store(number, function(Isa::broadcast(row[i])));
    sum += number[0];
  }
  return sum;
}

// output = (row - mean) · scale · weight + bias
template <typename Isa, typename Output>
VLLM_LOCAL_INLINE void write_normalised(const NormArguments& arguments, const float* row, float mean, float scale,
                                        Output* output) {
  using Vector = typename Isa::Vector;
  const Vector means = Isa::broadcast(mean), scales = Isa::broadcast(scale);
  for (int64_t i = 0; i < arguments.size; i += Isa::kWidth) {
    const int64_t left = arguments.size - i;
    const bool whole = left >= Isa::kWidth;
    const auto part = [&](const float* source) {
      return whole ? Isa::load(source + i) : load_partial<Isa>(source + i, left);
    };
    Vector result = Isa::multiply(Isa::multiply(Isa::subtract(part(row), means), scales), part(arguments.weight));
    if (arguments.bias != nullptr) result = Isa::add(result, part(arguments.bias));
    if (whole) {
      Isa::store(output + i, result);
    } else {
      store_partial<Isa>(output + i, result, left);
    }
  }
}

template <typename Isa, typename Output>
void norm_row(const NormArguments& arguments, int64_t index) {
  const float* row = arguments.rows + index * arguments.size;
  const float size = static_cast<float>(arguments.size);
  float mean = 0.0f;
  if (arguments.layer) {
    mean = sum_row<Isa>(row, arguments.size, [](typename Isa::Vector a) { return a; }) / size;
  }
  const auto square = [&](typename Isa::Vector a) {
    const typename Isa::Vector distance = Isa::subtract(a, Isa::broadcast(mean));
    return Isa::multiply(distance, distance);
  };
  const float mean_square = sum_row<Isa>(row, arguments.size, square) / size;
  const float scale = 1.0f / sqrtf(mean_square + arguments.eps);
  write_normalised<Isa>(arguments, row, mean, scale, static_cast<Output*>(arguments.output) + index * arguments.size);
}

template <typename Isa>
void norm(const NormArguments& arguments) {
  parallel_rows(arguments.num_rows, arguments.size, [&](int thread, int num_threads) {
    const Share rows = share_of(arguments.num_rows, thread, num_threads);
    for (int64_t row = rows.begin; row < rows.end; row++) {
      if (arguments.dtype == DTYPE_BFLOAT16) {
        norm_row<Isa, bfloat16>(arguments, row);
      } else {
        norm_row<Isa, float>(arguments, row);
      }
    }
  });
}

}  // namespace
}  // namespace vllm_local
