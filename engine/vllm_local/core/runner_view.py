"""What the model runner has been told, and what it has yet to be told."""

from __future__ import annotations

from collections.abc import Collection

from vllm_local.request import Request
from vllm_local.step_io import NewRequestData, SchedulerOutput


class RunnerView:
    """Describes requests to a runner that keeps rows of its own, with as little as it needs to hear.

    A request that the runner does not know goes out whole; of a known one only what changed. What the runner is to
    drop is collected until the next step, whatever happens in between.
    """

    def __init__(self) -> None:
        """Begins with a runner that knows nothing."""
        # Tokens that the runner has heard of, by the requests that it knows.
        self._num_sent_tokens: dict[str, int] = {}
        self._finished_ids: list[str] = []
        self._preempted_ids: list[str] = []

    @property
    def known_request_ids(self) -> Collection[str]:
        """Requests that have a row in the runner."""
        return self._num_sent_tokens.keys()

    def add_new(self, step: SchedulerOutput, request: Request, block_ids: tuple[list[int], ...]) -> None:
        """Describes a request that the runner does not know.

        Args:
            step: The step to add it to.
            request: The request.
            block_ids: Its whole block table, which the description may keep.
        """
        step.scheduled_new_requests.append(
            NewRequestData(
                request_id=request.request_id,
                token_ids=request.token_ids(0, request.num_tokens),
                num_prompt_tokens=request.num_prompt_tokens,
                num_computed_tokens=request.num_computed_tokens,
                block_ids=block_ids,
                sampling_params=request.sampling_params,
                seed=request.seed,
                choice_index=request.choice_index,
                eos_token_ids=request.eos_token_ids,
                bad_words_token_ids=request.bad_words_token_ids,
                prompt_logprobs_start=None if request.prompt_logprobs is None else len(request.prompt_logprobs),
            )
        )
        self._num_sent_tokens[request.request_id] = request.num_tokens

    def add_cached(self, step: SchedulerOutput, request: Request, new_block_ids: tuple[list[int], ...]) -> None:
        """Describes what changed for a request that the runner knows.

        Args:
            step: The step to add it to.
            request: The request.
            new_block_ids: Blocks appended to its block table since the last step.
        """
        request_id, num_tokens = request.request_id, request.num_tokens
        # What it has not heard of is behind the prompt, which it was told as a whole.
        num_unsent = num_tokens - self._num_sent_tokens[request_id]
        new_token_ids = request.output_token_ids[-num_unsent:] if num_unsent else []
        changed = step.scheduled_cached_requests
        changed.request_ids.append(request_id)
        changed.new_token_ids.append(new_token_ids)
        changed.new_block_ids.append(new_block_ids)
        changed.num_computed_tokens.append(request.num_computed_tokens)
        self._num_sent_tokens[request_id] = num_tokens

    def drop_preempted(self, request: Request) -> None:
        """Remembers that the runner must drop a preempted request, which it knows."""
        del self._num_sent_tokens[request.request_id]
        self._preempted_ids.append(request.request_id)

    def drop_finished(self, request: Request) -> None:
        """Remembers that the runner must drop a finished request, if it knows it."""
        if self._num_sent_tokens.pop(request.request_id, None) is not None:
            self._finished_ids.append(request.request_id)

    def hand_over_drops(self, step: SchedulerOutput) -> None:
        """Puts into the step what the runner drops before it."""
        step.finished_request_ids, self._finished_ids = self._finished_ids, []
        step.preempted_request_ids, self._preempted_ids = self._preempted_ids, []

    def take_back_drops(self, step: SchedulerOutput) -> None:
        """Keeps for the next step what the runner may not have dropped in this one, which failed."""
        self._finished_ids = list(dict.fromkeys([*step.finished_request_ids, *self._finished_ids]))
        self._preempted_ids = list(dict.fromkeys([*step.preempted_request_ids, *self._preempted_ids]))
