// The library's C interface: plain structs of pointers and sizes, called through ctypes.
//
// Numbers of a row are neighbours; rows are `*_stride` numbers apart. A `dtype` is one of DTYPE_*. Functions return
// when their work is done; nothing is kept but what `vllm_local_use_isa` and `vllm_local_set_num_threads` set.
#pragma once

#include <stdint.h>

#if defined(_WIN32)
#define VLLM_LOCAL_API extern "C" __declspec(dllexport)
#else
#define VLLM_LOCAL_API extern "C" __attribute__((visibility("default")))
#endif

enum { DTYPE_FLOAT32 = 0, DTYPE_BFLOAT16 = 1 };

// Changes whenever a struct or a function here does; the Python side refuses a library of another version.
enum { VLLM_LOCAL_API_VERSION = 1 };

VLLM_LOCAL_API int vllm_local_api_version(void);

// The instruction set in use: "avx512_bf16", "avx512", "avx2", "neon" or "portable".
VLLM_LOCAL_API const char* vllm_local_isa(void);

// Uses another instruction set from now on; weights that were packed for one are not read by another. Returns 1, or 0
// if this library or this machine does not have it.
VLLM_LOCAL_API int vllm_local_use_isa(const char* name);

// Threads that operations of the calling thread run on, itself included; 1 unless set. All callers share one pool.
VLLM_LOCAL_API void vllm_local_set_num_threads(int num_threads);
VLLM_LOCAL_API int vllm_local_num_threads(void);

// Root-mean-square norm or layer norm: rows [num_rows, size] float32 -> output [num_rows, size] of `dtype`.
typedef struct {
  const float* rows;
  const float* weight;  // [size]
  const float* bias;    // [size] or null; layer norm only
  void* output;
  int64_t num_rows;
  int64_t size;
  float eps;       // added to the mean square or the variance
  int32_t layer;   // 1: layer norm, 0: root-mean-square norm
  int32_t dtype;
} NormArguments;

VLLM_LOCAL_API void vllm_local_norm(const NormArguments* arguments);
