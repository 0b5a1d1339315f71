#include "thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace vllm_local {
namespace {

// A thread spins between two operations of a step and sleeps between two steps. Yielding in between is what keeps a
// neighbour on the same core from costing whole time slices.
constexpr auto kSpinTime = std::chrono::microseconds(50);
constexpr int kYields = 100;
constexpr int kChecksPerClock = 64;

void pause_briefly() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins, then yields, until the condition holds; returns false if it still does not.
template <typename Condition>
bool wait_awake(const Condition& condition) {
  const auto started = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < kChecksPerClock; i++) {
      if (condition()) return true;
      pause_briefly();
    }
  } while (std::chrono::steady_clock::now() - started < kSpinTime);
  for (int i = 0; i < kYields; i++) {
    if (condition()) return true;
    std::this_thread::yield();
  }
  return false;
}

// What all threads of a region run.
struct Region {
  Task task;
  const void* context;
  int num_threads;
  std::atomic<int> unfinished;
};

// One thread of the pool, on cache lines of its own: it waits on `posted`, the number of regions it was given.
class alignas(128) Worker {
 public:
  Worker(int thread, Region* region) : thread_(thread), region_(region) {
    // The pool lives as long as the process, so nobody ever waits for a worker to end.
    std::thread([this] { work(); }).detach();
  }

  void post() {
    posted_.fetch_add(1, std::memory_order_seq_cst);
    if (!parked_.load(std::memory_order_seq_cst)) return;
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_one();
  }

 private:
  void work() {
    for (uint64_t seen = 0;; seen++) {
      wait_for_more_than(seen);
      region_->task(region_->context, thread_, region_->num_threads);
      region_->unfinished.fetch_sub(1, std::memory_order_release);
    }
  }

  void wait_for_more_than(uint64_t seen) {
    if (wait_awake([&] { return posted_.load(std::memory_order_acquire) > seen; })) return;
    std::unique_lock<std::mutex> lock(mutex_);
    parked_.store(true, std::memory_order_seq_cst);
    wake_.wait(lock, [&] { return posted_.load(std::memory_order_seq_cst) > seen; });
    parked_.store(false, std::memory_order_relaxed);
  }

  const int thread_;
  Region* const region_;
  std::atomic<uint64_t> posted_{0};
  std::atomic<bool> parked_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

class Pool {
 public:
  void run(Task task, const void* context, int num_threads) {
    std::lock_guard<std::mutex> turn(turn_);
    grow(num_threads - 1);
    region_.task = task;
    region_.context = context;
    region_.num_threads = num_threads;
    region_.unfinished.store(num_threads - 1, std::memory_order_relaxed);
    for (int i = 0; i < num_threads - 1; i++) workers_[i]->post();
    task(context, 0, num_threads);
    const auto finished = [this] { return region_.unfinished.load(std::memory_order_acquire) == 0; };
    while (!wait_awake(finished)) std::this_thread::yield();
  }

 private:
  void grow(int num_workers) {
    while (static_cast<int>(workers_.size()) < num_workers) {
      const int thread = static_cast<int>(workers_.size()) + 1;
      workers_.push_back(std::make_unique<Worker>(thread, &region_));
    }
  }

  std::mutex turn_;
  Region region_{};
  std::vector<std::unique_ptr<Worker>> workers_;
};

// Never deleted: its threads may still run while the process ends.
std::atomic<Pool*> process_pool{nullptr};

// Threads do not survive a fork, and a lock that one of them held stays locked: the child starts with a new pool.
Pool* make_pool() {
#if defined(__unix__) || defined(__APPLE__)
  static std::once_flag registered;
  std::call_once(registered, [] {
    pthread_atfork(nullptr, nullptr, [] { process_pool.store(nullptr, std::memory_order_relaxed); });
  });
#endif
  static std::mutex making;
  std::lock_guard<std::mutex> lock(making);
  if (process_pool.load() == nullptr) process_pool.store(new Pool());
  return process_pool.load();
}

thread_local int threads_of_caller = 1;

}  // namespace

void set_num_threads(int num_threads) { threads_of_caller = std::max(1, num_threads); }

int num_threads() { return threads_of_caller; }

void run_parallel(Task task, const void* context) {
  if (threads_of_caller == 1) return task(context, 0, 1);
  Pool* pool = process_pool.load(std::memory_order_acquire);
  if (pool == nullptr) pool = make_pool();
  pool->run(task, context, threads_of_caller);
}

}  // namespace vllm_local
