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

enum { ACTIVATION_NONE = 0, ACTIVATION_SILU = 1, ACTIVATION_GELU = 2, ACTIVATION_GELU_TANH = 3, ACTIVATION_RELU = 4 };

// Changes whenever a struct or a function here does; the Python side refuses a library of another version.
enum { VLLM_LOCAL_API_VERSION = 3 };

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
  float eps;      // added to the mean square or the variance
  int32_t layer;  // 1: layer norm, 0: root-mean-square norm
  int32_t dtype;
} NormArguments;

VLLM_LOCAL_API void vllm_local_norm(const NormArguments* arguments);

// ── Attention ────────────────────────────────────────────────────────────────────────────────────────────────────────

enum { VLLM_LOCAL_MAX_HEAD_SIZE = 1024 };

// Cosines and sines of a rotary embedding: row p holds the `head_size / 2` cosines of position p, then its sines.
typedef struct {
  const float* rows;
} RotationTable;

// One layer's attention.
typedef struct {
  int64_t num_heads;  // a multiple of num_kv_heads
  int64_t num_kv_heads;
  int64_t sliding_window;  // a query sees so many positions, its own included; 0: all
  int32_t head_size;       // at most VLLM_LOCAL_MAX_HEAD_SIZE
  float softmax_scale;
  float logit_softcap;  // scaled products become softcap · tanh(product / softcap); 0: they stay
  float qkv_clip;       // Q, K and V are clamped to ± this first; 0: they are not
  float norm_eps;
  const float* alibi_slopes;  // [num_heads] or null
  const float* q_norm;        // [head_size] or null: root-mean-square norms of each head
  const float* k_norm;
  const RotationTable* rotation;  // or null
} AttentionLayer;

// One layer's paged K and V; kv_cache.h has the layout. Memory must be zeros before its first use.
typedef struct {
  void* k;  // [num_blocks, num_kv_heads, head_size · block_size]
  void* v;  // [num_blocks, num_kv_heads, block_size, head_size rounded up to a multiple of 16]
  int64_t block_size;
  int64_t num_kv_heads;
  int32_t head_size;
  int32_t dtype;  // of the cache, and of the rows that are written into it
} KVCache;

// Where one step's tokens stand; see AttentionMetadata in kernels/interface.py.
typedef struct {
  const int64_t* positions;     // [num_tokens]
  const int64_t* slots;         // [num_tokens]
  const int32_t* query_starts;  // [num_requests + 1]
  const int32_t* seq_lens;      // [num_requests]
  const int32_t* block_tables;  // [num_requests, block_table_stride]
  int64_t block_table_stride;
  int64_t num_tokens;
  int64_t num_requests;
} AttentionStep;

// Clips, normalises and rotates rows [num_tokens, (num_heads + 2 · num_kv_heads) · head_size] of the cache's dtype:
// the queries in place, K and V into the cache.
typedef struct {
  const AttentionLayer* layer;
  const AttentionStep* step;
  const KVCache* cache;
  void* qkv;
} RotateArguments;

VLLM_LOCAL_API void vllm_local_rotate_and_cache(const RotateArguments* arguments);

// Attends with the queries that vllm_local_rotate_and_cache left in `qkv`, over K and V in the cache:
// output [num_tokens, num_heads · head_size].
typedef struct {
  const AttentionLayer* layer;
  const AttentionStep* step;
  const KVCache* cache;
  const void* qkv;
  void* output;
} AttendArguments;

VLLM_LOCAL_API void vllm_local_attend(const AttendArguments* arguments);

// A weight of a linear, to be packed: rows [out_features, in_features] -> panels of columns.
typedef struct {
  const void* weight;  // [out_features, in_features] of `dtype`
  const float* bias;   // [out_features] or null
  void* packed;        // what vllm_local_packed_bytes says, on a cache line
  float* packed_bias;  // what vllm_local_packed_columns says, or null without a bias
  int64_t out_features;
  int64_t in_features;
  int32_t dtype;
  int32_t gated;  // 1: the first half of the outputs is the gate, the second what it opens
} PackArguments;

// Columns of a packed weight, padding included.
VLLM_LOCAL_API int64_t vllm_local_packed_columns(int64_t out_features, int32_t gated);
VLLM_LOCAL_API int64_t vllm_local_packed_bytes(const PackArguments* arguments);
VLLM_LOCAL_API void vllm_local_pack(const PackArguments* arguments);

// output = activation(input · weight + bias) · scale, or += that.
// A gated linear has half as many results as outputs: activation(gate) · (the other half).
// Each result is summed up over the inputs in their order, whatever the number of rows and threads.
typedef struct {
  const void* input;          // [num_rows, in_features] of input_dtype
  const int64_t* input_rows;  // [num_rows], which rows of input to take, or null: all in their order
  const void* weight;         // packed
  const float* bias;          // packed, or null
  void* output;               // [num_rows, results] of output_dtype
  int64_t num_rows;
  int64_t in_features;
  int64_t out_features;
  int64_t input_stride;
  int64_t output_stride;
  float scale;
  int32_t weight_dtype;
  int32_t input_dtype;
  int32_t output_dtype;
  int32_t activation;  // one of ACTIVATION_*
  int32_t gated;
  int32_t adds;  // 1: adds to the output, which is float32
} LinearArguments;

VLLM_LOCAL_API void vllm_local_linear(const LinearArguments* arguments);

// ── Mixtures of experts ──────────────────────────────────────────────────────────────────────────────────────────────

// Chooses each row's experts by its logits [num_rows, num_experts], and sorts all choices by expert.
typedef struct {
  const float* logits;
  float* weights;         // [num_rows, top_k], largest first
  int32_t* experts;       // [num_rows, top_k]
  int32_t* places;        // [num_rows, top_k], where each choice stands among all, sorted by expert
  int64_t* rows;          // [num_rows · top_k], whose choice stands there
  int32_t* group_starts;  // [num_experts + 1], where each expert's begin
  int64_t num_rows;
  int64_t num_experts;
  int64_t top_k;       // at most num_experts
  int32_t normalises;  // 1: a row's weights add up to 1; 0: the softmax over all experts does
} RouteArguments;

VLLM_LOCAL_API void vllm_local_route(const RouteArguments* arguments);

// A linear for each group of rows: group_starts[g] … group_starts[g + 1], times weights[g]; see LinearArguments.
typedef struct {
  const void* input;            // [rows, in_features] of input_dtype
  const int64_t* input_rows;    // [rows of all groups], which rows of input to take, or null: all in their order
  void* output;                 // [rows of all groups, results] of output_dtype
  const void* const* weights;   // [num_groups], packed
  const int32_t* group_starts;  // [num_groups + 1]
  int64_t num_groups;
  int64_t in_features;
  int64_t out_features;
  int32_t weight_dtype;
  int32_t input_dtype;
  int32_t output_dtype;
  int32_t activation;
  int32_t gated;
} GroupedLinearArguments;

VLLM_LOCAL_API void vllm_local_grouped_linear(const GroupedLinearArguments* arguments);

// residual[row] += the sum of weights[row, choice] · results[places[row, choice]], over the choices in their order.
typedef struct {
  float* residual;        // [num_rows, size]
  const float* results;   // [num_rows · top_k, size]
  const float* weights;   // [num_rows, top_k]
  const int32_t* places;  // [num_rows, top_k]
  int64_t num_rows;
  int64_t size;
  int64_t top_k;
} CombineArguments;

VLLM_LOCAL_API void vllm_local_combine(const CombineArguments* arguments);

// Asks the system for huge pages; does nothing where it has none.
VLLM_LOCAL_API void vllm_local_advise_huge_pages(void* memory, int64_t bytes);

// Rows of a table as float32: output [num_rows, size] = table[token_ids].
typedef struct {
  const void* table;         // [vocabulary, size] of `dtype`, or that packed by vllm_local_pack, not gated
  const int64_t* token_ids;  // [num_rows]
  float* output;
  int64_t num_rows;
  int64_t size;
  int32_t dtype;
  int32_t packed;  // 1: the table is packed
} EmbedArguments;

VLLM_LOCAL_API void vllm_local_embed(const EmbedArguments* arguments);

// ── Programs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

enum {
  OPERATION_NORM = 0,
  OPERATION_LINEAR = 1,
  OPERATION_ROTATE_AND_CACHE = 2,
  OPERATION_ATTEND = 3,
  OPERATION_ROUTE = 4,
  OPERATION_GROUPED_LINEAR = 5,
  OPERATION_COMBINE = 6,
  OPERATION_EMBED = 7,
};

// A call of one of the functions above.
typedef struct {
  const void* arguments;  // what the function takes
  int64_t kind;           // one of OPERATION_*
} Operation;

// Runs operations in their order. Their arguments are those of the step that they were recorded in, save its number of
// rows and the step itself, which are this step's.
typedef struct {
  const Operation* operations;
  int64_t num_operations;
  const AttentionStep* step;
} RunArguments;

VLLM_LOCAL_API void vllm_local_run(const RunArguments* arguments);

// ── Sampling ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// How one row is sampled: the largest logit, or a draw from those that min_p, top_k and top_p leave, in this order.
typedef struct {
  float temperature;  // 0: the largest logit, the lowest token among equals
  float log_min_p;    // logarithm of min_p; -infinity: none
  int64_t top_k;      // 0: all; ties with the last one stay
  double top_p;       // 1: all
} SamplingRow;

// Log-probabilities: each row's most probable tokens, and the tokens that queries name.
typedef struct {
  const float* logits;
  const int64_t* num_top;     // [num_rows], how many of the most probable tokens to list
  int64_t* top_token_ids;     // [num_rows, top_stride], best first, the lowest among equals first
  double* top_logprobs;       // [num_rows, top_stride]
  float* largest;             // [num_rows], each row's largest logit; the rest has no meaning unless it is finite
  const int64_t* query_rows;  // [num_queries], index among the num_rows
  int64_t* query_token_ids;   // [num_queries]
  double* query_logprobs;     // [num_queries]
  int64_t* query_ranks;       // [num_queries], one more than there are larger logits
  int64_t num_rows;
  int64_t num_queries;
  int64_t vocab_size;
  int64_t stride;
  int64_t top_stride;
} DescribeArguments;

VLLM_LOCAL_API void vllm_local_describe(const DescribeArguments* arguments);

// Samples a token from each row of logits [num_rows, vocab_size], and describes some of the rows.
typedef struct {
  const float* logits;
  const SamplingRow* rows;  // [num_rows]
  const double* uniforms;   // [num_rows], in [0, 1); read for rows that draw
  int64_t* token_ids;       // [num_rows]; without a meaning where `largest` is not finite
  float* largest;           // [num_rows], each row's largest logit; NaN or infinity where it holds one
  // What to describe, or null. Its logits are those above, and its first queries ask for the rows' tokens.
  const DescribeArguments* description;
  const int64_t* described_rows;  // [description->num_rows], which rows of the logits those are
  int64_t num_rows;
  int64_t vocab_size;
  int64_t stride;
} SampleArguments;

VLLM_LOCAL_API void vllm_local_sample(const SampleArguments* arguments);
