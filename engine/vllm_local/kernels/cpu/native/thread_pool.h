// The process's one pool of threads, and two ways to split work: into equal shares, or stretch by stretch.
#pragma once

#include <stdint.h>

#include <atomic>

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

// Hands out equal items in stretches that get shorter and shorter, to whichever thread is done with its last one: so
// nobody waits long for a thread on a slow core, or on one that other programs use (guided self-scheduling,
// Polychronopoulos and Kuck 1987).
class Stretches {
 public:
  // All but the last stretch are a multiple of `grain` items.
  Stretches(int64_t count, int64_t grain, int num_threads) : count_(count), grain_(grain), num_threads_(num_threads) {}

  // Returns the next stretch, or an empty one where all are taken.
  Share take() {
    int64_t begin = next_.load(std::memory_order_relaxed), end = begin;
    do {
      if (begin == count_) return {count_, count_};
      end = begin + length(count_ - begin);
    } while (!next_.compare_exchange_weak(begin, end, std::memory_order_relaxed));
    return {begin, end};
  }

 private:
  // Half of a thread's share of what is left.
  int64_t length(int64_t left) const {
    const int64_t parts = num_threads_ == 1 ? 1 : 2 * num_threads_;
    const int64_t grains = (left + parts * grain_ - 1) / (parts * grain_);
    return grains * grain_ < left ? grains * grain_ : left;
  }

  const int64_t count_;
  const int64_t grain_;
  const int num_threads_;
  std::atomic<int64_t> next_{0};
};

// Runs function(stretch) for stretches of `count` items on all threads, until all are done.
template <typename Function>
static inline void parallel_stretches(int64_t count, int64_t grain, const Function& function) {
  Stretches stretches(count, grain, num_threads());
  parallel([&](int, int) {
    for (Share items = stretches.take(); items.begin < items.end; items = stretches.take()) function(items);
  });
}

}  // namespace vllm_local
