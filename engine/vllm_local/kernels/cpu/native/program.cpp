// A step's operations in one call, so that the interpreter is left alone from the token ids to the logits.
#include "api.h"

namespace vllm_local {
namespace {

template <typename Arguments>
Arguments arguments_of(const Operation& operation) {
  return *static_cast<const Arguments*>(operation.arguments);
}

void run_embed(EmbedArguments call, const RunArguments& run) {
  call.num_rows = run.step->num_tokens;
  vllm_local_embed(&call);
}

void run_norm(NormArguments call, const RunArguments& run) {
  call.num_rows = run.step->num_tokens;
  vllm_local_norm(&call);
}

void run_linear(LinearArguments call, const RunArguments& run) {
  call.num_rows = run.step->num_tokens;
  vllm_local_linear(&call);
}

void run_rotate(RotateArguments call, const RunArguments& run) {
  call.step = run.step;
  vllm_local_rotate_and_cache(&call);
}

void run_attend(AttendArguments call, const RunArguments& run) {
  call.step = run.step;
  vllm_local_attend(&call);
}

void run_route(RouteArguments call, const RunArguments& run) {
  call.num_rows = run.step->num_tokens;
  vllm_local_route(&call);
}

void run_grouped_linear(const GroupedLinearArguments& call) { vllm_local_grouped_linear(&call); }

void run_combine(CombineArguments call, const RunArguments& run) {
  call.num_rows = run.step->num_tokens;
  vllm_local_combine(&call);
}

void run_operation(const Operation& operation, const RunArguments& run) {
  switch (operation.kind) {
    case OPERATION_NORM:
      return run_norm(arguments_of<NormArguments>(operation), run);
    case OPERATION_LINEAR:
      return run_linear(arguments_of<LinearArguments>(operation), run);
    case OPERATION_ROTATE_AND_CACHE:
      return run_rotate(arguments_of<RotateArguments>(operation), run);
    case OPERATION_ATTEND:
      return run_attend(arguments_of<AttendArguments>(operation), run);
    case OPERATION_ROUTE:
      return run_route(arguments_of<RouteArguments>(operation), run);
    case OPERATION_GROUPED_LINEAR:
      return run_grouped_linear(arguments_of<GroupedLinearArguments>(operation));
    case OPERATION_COMBINE:
      return run_combine(arguments_of<CombineArguments>(operation), run);
    case OPERATION_EMBED:
      return run_embed(arguments_of<EmbedArguments>(operation), run);
  }
}

}  // namespace
}  // namespace vllm_local

void vllm_local_run(const RunArguments* arguments) {
  for (int64_t i = 0; i < arguments->num_operations; i++) {
    vllm_local::run_operation(arguments->operations[i], *arguments);
  }
}
