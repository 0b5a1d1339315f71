// What this machine's memory and arithmetic units can do, for `ceilings.py`.
//
// Compiled for this machine alone. Vectors are the compiler's own, as wide as the machine's registers; their sums and
// multiply-adds are one instruction each.

#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kFloats = kVectorBytes / static_cast<int>(sizeof(float));
// As many as hide a multiply-add's latency behind two a cycle, and fit into sixteen registers.
constexpr int kChains = 12;

typedef float FloatVector __attribute__((vector_size(kVectorBytes)));
typedef int64_t IntegerVector __attribute__((vector_size(kVectorBytes)));

double now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

// Keeps the compiler from leaving out what computes a value.
template <typename Value>
void keep(Value& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

// Seconds until all of some threads have done their part.
template <typename Work>
double seconds_of(int num_threads, Work work) {
  const double began = now();
  std::vector<std::thread> threads;
  for (int i = 1; i < num_threads; i++) threads.emplace_back([&work, i] { work(i); });
  work(0);
  for (std::thread& thread : threads) thread.join();
  return now() - began;
}

// Adds up a part of the memory, read as some streams side by side.
void read(const char* memory, int64_t size, int num_streams) {
  const int64_t stream = size / num_streams / (4 * kVectorBytes) * (4 * kVectorBytes);
  IntegerVector sums[4] = {};
  for (int64_t at = 0; at < stream; at += 4 * kVectorBytes) {
    for (int i = 0; i < num_streams; i++) {
      const auto* source = reinterpret_cast<const IntegerVector*>(memory + i * stream + at);
      for (int j = 0; j < 4; j++) sums[j] += source[j];
    }
  }
  for (IntegerVector& sum : sums) keep(sum);
}

void multiply_add(int64_t steps) {
  FloatVector sums[kChains] = {};
  FloatVector factor, addend;
  for (int i = 0; i < kFloats; i++) factor[i] = 0.5f, addend[i] = 1.0f;
  keep(factor), keep(addend);
  const FloatVector a = factor, b = addend;
  for (int64_t step = 0; step < steps; step++) {
    for (FloatVector& sum : sums) sum = sum * a + b;
  }
  for (FloatVector& sum : sums) keep(sum);
}

#if defined(__AVX512BF16__)
void multiply_add_bfloat16(int64_t steps) {
  __m512 sums[kChains] = {};
  __m512i factor = _mm512_set1_epi32(0x3f003f00);
  keep(factor);
  const __m512bh a = (__m512bh)factor;
  for (int64_t step = 0; step < steps; step++) {
    for (__m512& sum : sums) sum = _mm512_dpbf16_ps(sum, a, a);
  }
  for (__m512& sum : sums) keep(sum);
}
#endif

}  // namespace

extern "C" {

// Bytes a second that the threads read from memory, each from its share, as so many streams.
double read_rate(const char* memory, int64_t size, int num_streams, int num_threads) {
  const int64_t share = size / num_threads / 4096 * 4096;
  const double seconds = seconds_of(num_threads, [&](int i) { read(memory + i * share, share, num_streams); });
  return static_cast<double>(share) * num_threads / seconds;
}

// Operations (a multiply-add is two) a second on float32, by threads that do so many steps each.
double float_rate(int64_t steps, int num_threads) {
  const double seconds = seconds_of(num_threads, [&](int) { multiply_add(steps); });
  return 2.0 * kFloats * kChains * steps * num_threads / seconds;
}

// The same on bfloat16, or 0 where the machine has no products of it.
double bfloat16_rate(int64_t steps, int num_threads) {
#if defined(__AVX512BF16__)
  const double seconds = seconds_of(num_threads, [&](int) { multiply_add_bfloat16(steps); });
  return 4.0 * kFloats * kChains * steps * num_threads / seconds;
#else
  return static_cast<void>(steps), static_cast<void>(num_threads), 0.0;
#endif
}

// Does nothing: what a call alone costs.
void nothing(const void*) {}

}  // extern "C"
