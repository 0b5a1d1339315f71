// Clip, norm and rotation of Q and K heads, and the write of K and V into the cache: one call a layer.
#pragma once

#include <cmath>

#include "api.h"
#include "isa.h"
#include "kv_cache.h"
#include "thread_pool.h"

namespace vllm_local {
namespace {

template <typename Isa, typename Number>
void load_clipped(const Number* source, int size, float clip, float* head) {
  for (int i = 0; i < size; i += Isa::kWidth) {
    typename Isa::Vector numbers = load_up_to<Isa>(source + i, size - i);
    if (clip > 0.0f) numbers = Isa::minimum(Isa::maximum(numbers, Isa::broadcast(-clip)), Isa::broadcast(clip));
    store_up_to<Isa>(head + i, numbers, size - i);
  }
}

// Root-mean-square norm of one head.
template <typename Isa>
void norm_head(float* head, int size, const float* weight, float eps) {
  using Vector = typename Isa::Vector;
  Vector squares = Isa::broadcast(0.0f);
  for (int i = 0; i < size; i += Isa::kWidth) {
    const Vector numbers = load_up_to<Isa>(head + i, size - i);
    squares = Isa::fma(numbers, numbers, squares);
  }
  const Vector scale = Isa::broadcast(1.0f / std::sqrt(Isa::sum(squares) / static_cast<float>(size) + eps));
  for (int i = 0; i < size; i += Isa::kWidth) {
    const Vector scaled = Isa::multiply(load_up_to<Isa>(head + i, size - i), scale);
    store_up_to<Isa>(head + i, Isa::multiply(scaled, load_up_to<Isa>(weight + i, size - i)), size - i);
  }
}

// Rotates the pairs (i, i + half) by the angles whose cosines and then sines are given.
template <typename Isa>
void rotate_head(float* head, int half, const float* cosines) {
  using Vector = typename Isa::Vector;
  const float* sines = cosines + half;
  for (int i = 0; i < half; i += Isa::kWidth) {
    const int64_t left = half - i;
    const Vector first = load_up_to<Isa>(head + i, left), second = load_up_to<Isa>(head + half + i, left);
    const Vector cosine = load_up_to<Isa>(cosines + i, left), sine = load_up_to<Isa>(sines + i, left);
    const Vector turned = Isa::subtract(Isa::multiply(first, cosine), Isa::multiply(second, sine));
    store_up_to<Isa>(head + half + i, Isa::fma(first, sine, Isa::multiply(second, cosine)), left);
    store_up_to<Isa>(head + i, turned, left);
  }
}

template <typename Isa, typename Number>
void store_head(const float* head, int size, Number* target) {
  for (int i = 0; i < size; i += Isa::kWidth) {
    store_up_to<Isa>(target + i, load_up_to<Isa>(head + i, size - i), size - i);
  }
}

// Brings one token's heads in order: Q in place, K and V into the cache.
template <typename Isa, typename Number>
void rotate_and_cache_token(const RotateArguments& arguments, const PagedCache<Number>& cache, int64_t token) {
  const AttentionLayer& layer = *arguments.layer;
  const AttentionStep& step = *arguments.step;
  const int size = layer.head_size;
  const int64_t num_rotated = layer.num_heads + layer.num_kv_heads;
  Number* row = static_cast<Number*>(arguments.qkv) + token * (num_rotated + layer.num_kv_heads) * size;
  const float* angles =
      layer.rotation == nullptr ? nullptr : layer.rotation->rows + step.positions[token] * (size / 2) * 2;
  float head[VLLM_LOCAL_MAX_HEAD_SIZE];
  for (int64_t index = 0; index < num_rotated; index++, row += size) {
    const bool is_query = index < layer.num_heads;
    load_clipped<Isa>(row, size, layer.qkv_clip, head);
    if (layer.q_norm != nullptr) norm_head<Isa>(head, size, is_query ? layer.q_norm : layer.k_norm, layer.norm_eps);
    if (angles != nullptr) rotate_head<Isa>(head, size / 2, angles);
    if (is_query) {
      store_head<Isa>(head, size, row);
    } else {
      cache.write_key(step.slots[token], index - layer.num_heads, head);
    }
  }
  for (int64_t kv_head = 0; kv_head < layer.num_kv_heads; kv_head++, row += size) {
    load_clipped<Isa>(row, size, layer.qkv_clip, head);
    cache.write_value(step.slots[token], kv_head, head);
  }
}

template <typename Isa, typename Number>
void rotate_and_cache_as(const RotateArguments& arguments) {
  const PagedCache<Number> cache(*arguments.cache);
  const int64_t num_tokens = arguments.step->num_tokens;
  const int64_t numbers = (arguments.layer->num_heads + 2 * arguments.layer->num_kv_heads) * arguments.layer->head_size;
  parallel_rows(num_tokens, numbers, [&](int thread, int num_threads) {
    const Share tokens = share_of(num_tokens, thread, num_threads);
    for (int64_t token = tokens.begin; token < tokens.end; token++) {
      rotate_and_cache_token<Isa>(arguments, cache, token);
    }
  });
}

template <typename Isa>
void rotate_and_cache(const RotateArguments& arguments) {
  if (arguments.cache->dtype == DTYPE_BFLOAT16) {
    rotate_and_cache_as<Isa, bfloat16>(arguments);
  } else {
    rotate_and_cache_as<Isa, float>(arguments);
  }
}

}  // namespace
}  // namespace vllm_local
