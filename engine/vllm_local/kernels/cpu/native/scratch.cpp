#include "scratch.h"

#include <cstdint>
#include <memory>

namespace vllm_local {
namespace {

constexpr size_t kCacheLine = 64;

class Buffer {
 public:
  void* take(size_t bytes) {
    if (bytes > size_) {
      memory_.reset(new char[bytes + kCacheLine]);
      size_ = bytes;
    }
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    return reinterpret_cast<void*>((address + kCacheLine - 1) / kCacheLine * kCacheLine);
  }

 private:
  std::unique_ptr<char[]> memory_;
  size_t size_ = 0;
};

thread_local Buffer buffers[4];

}  // namespace

void* scratch(Scratch buffer, size_t bytes) { return buffers[static_cast<int>(buffer)].take(bytes); }

}  // namespace vllm_local
