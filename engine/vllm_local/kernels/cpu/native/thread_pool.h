// The process's one pool of threads. Work is split statically: thread i of n always takes the same part.
#pragma once

#include <stdint.h>

namespace vllm_local {

// Called once on every thread of a region, with its number and how many there are.
using Task = void (*)(const void* context, int thread, int num_threads);

// Sets how many threads the regions of the calling thread run on, itself included; the pool grows to that.
void set_num_threads(int num_threads);

// How many threads the regions of the calling thread run on.
int num_threads();

// Runs the task on all threads and returns once all are done. Regions of different callers take turns.
void run_parallel(Task task, const void* context);

// Runs function(thread, num_threads) on all threads.
template <typename Function>
static inline void parallel(const Function& function) {
  run_parallel(
      [](const void* context, int thread, int count) { (*static_cast<const Function*>(context))(thread, count); },
      &function);
}

// Numbers that a thread looks at in the time that it takes to wake another.
constexpr int64_t kNumbersPerThread = 4096;

// Runs function(thread, num_threads) for rows of so many numbers each; on the calling thread where they are few.
template <typename Function>
static inline void parallel_rows(int64_t num_rows, int64_t row_size, const Function& function) {
  if (num_rows == 1 || num_rows * row_size < 2 * kNumbersPerThread) return function(0, 1);
  parallel(function);
}

// The range of a thread's share of `count` equal items.
struct Share {
  int64_t begin;
  int64_t end;
};

static inline Share share_of(int64_t count, int thread, int num_threads) {
  return {count * thread / num_threads, count * (thread + 1) / num_threads};
}

}  // namespace vllm_local
