"""Continuous batching: which tokens of which requests are computed in the next step."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from vllm_local.config import KVCacheConfig
from vllm_local.core.finish_check import append_tokens
from vllm_local.core.grammar_advance import advance_grammar, fit_tokens
from vllm_local.core.grammar_masks import GrammarMasks
from vllm_local.core.kv_cache_manager import KVCacheManager
from vllm_local.core.request_queue import RequestQueue, SchedulingOrder
from vllm_local.core.runner_view import RunnerView
from vllm_local.errors import ContextLengthError, InvalidRequestError
from vllm_local.outputs import EngineCoreOutput
from vllm_local.request import FinishReason, Request, RequestStatus
from vllm_local.step_io import ModelRunnerOutput, SchedulerOutput

# What most steps add to a request's block table.
_NO_BLOCKS: tuple[list[int], ...] = ([],)


class Scheduler:
    """Fills every step with tokens of many requests (iteration-level scheduling: Orca, Yu et al. 2022).

    There is no prefill phase and no decode phase. Each request's `num_computed_tokens` catches up with its
    `num_tokens`, under one budget of tokens a step; chunked prefill, prefix caching and preemption all follow from
    that (the idea is vLLM V1's). A step is made of

    1. the running requests in policy order, each with all its missing tokens, or as many as leave one token of the
       budget for every running request behind it;
    2. waiting requests in policy order, as long as there are budget, seats and blocks; none overtakes another.

    A running request that needs a block when none is free takes those of the running request that is last in
    policy order. That one keeps its tokens and waits at its place in the order. So the first running request is
    never preempted, and since a request that could not even run alone is refused, every other one finishes too.
    A waiting request enters only if every running request could still grow by a block; it would be the next victim
    otherwise.

    Attributes:
        max_model_len: Longest prompt and answer together, in tokens; never more than the KV cache holds.
        num_preemptions_total: How often a request lost its blocks.
        prefix_cache_queries: Prompt tokens looked up in the prefix cache, each once, at first scheduling.
        prefix_cache_hits: How many of them were found.
        num_steps_by_tokens: How many steps computed so and so many tokens.
    """

    def __init__(
        self,
        *,
        kv_cache: KVCacheConfig,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        max_model_len: int,
        vocab_size: int,
        policy: str = "fcfs",
    ) -> None:
        """Makes a scheduler without requests.

        Whether blocks are shared is each request's own matter: `Request.prefix_keys`.

        Args:
            kv_cache: The paged KV cache.
            max_num_seqs: Most requests running at once.
            max_num_batched_tokens: Most tokens computed in one step.
            max_model_len: Longest prompt and answer together, in tokens.
            vocab_size: Tokens of the model, which grammars choose from.
            policy: "fcfs" or "priority".

        Raises:
            InvalidConfigError: There is no such policy.
            UnsupportedModelError: The KV cache is laid out in a way that this version cannot manage.
        """
        self.max_model_len = min(max_model_len, kv_cache.num_tokens)
        self.num_preemptions_total = 0
        self.prefix_cache_queries = 0
        self.prefix_cache_hits = 0
        self.num_steps_by_tokens: Counter[int] = Counter()
        self._max_num_seqs = max_num_seqs
        self._max_num_batched_tokens = max_num_batched_tokens
        self._kv = KVCacheManager(kv_cache)
        self._order = SchedulingOrder(policy)
        self._waiting = RequestQueue(self._order)
        self._running = RequestQueue(self._order)
        self._requests: dict[str, Request] = {}
        self._num_grammars = 0
        self._runner = RunnerView()
        self._masks = GrammarMasks(vocab_size)

    @property
    def num_running(self) -> int:
        """Requests that hold blocks."""
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """Requests that hold none, preempted ones among them."""
        return len(self._waiting)

    @property
    def kv_cache_usage(self) -> float:
        """Share of the KV blocks that requests hold, in [0, 1]."""
        return self._kv.usage

    @property
    def num_untouched_blocks(self) -> int:
        """KV blocks that no request has ever held."""
        return self._kv.num_untouched_blocks

    def has_unfinished_requests(self) -> bool:
        """Whether there is anything left to compute."""
        return bool(self._requests)

    def add_request(self, request: Request) -> None:
        """Queues a request.

        Args:
            request: A new request; its prompt has a token at least.

        Raises:
            ContextLengthError: Its prompt and one more token exceed the context or the whole KV cache.
            InvalidRequestError: Its prompt is empty, or its id belongs to an unfinished request.
        """
        if request.request_id in self._requests:
            message = f"Request id {request.request_id!r} is in use by an unfinished request; choose another."
            raise InvalidRequestError(message, parameter="request_id")
        if not request.prompt_token_ids:
            message = f"The prompt of request {request.request_id!r} has no tokens; give it at least one."
            raise InvalidRequestError(message, parameter="prompt")
        if request.num_prompt_tokens >= self.max_model_len:
            raise ContextLengthError(request.num_prompt_tokens, self.max_model_len)
        self._requests[request.request_id] = request
        self._num_grammars += request.grammar is not None
        self._order.register(request)
        self._kv.register(request)
        self._waiting.add(request)

    def schedule(self) -> SchedulerOutput:
        """Decides the next step and gives its requests their blocks.

        Every call must be followed by `update_from_output`, or by `abandon_step` if the step failed.
        """
        self._kv.begin_step()
        step = SchedulerOutput()
        budget = self._schedule_running(step)
        self._schedule_waiting(step, budget)
        self._runner.hand_over_drops(step)
        if self._num_grammars:
            step.grammar_bitmask = self._masks.begin(self._sampled_requests(step))
        self.num_steps_by_tokens[sum(step.num_scheduled_tokens.values())] += 1
        return step

    def update_from_output(self, scheduled: SchedulerOutput, result: ModelRunnerOutput) -> list[EngineCoreOutput]:
        """Takes in a step's result.

        Args:
            scheduled: What `schedule` returned last.
            result: What the runner made of it. Results for requests that were finished meanwhile are dropped.

        Returns:
            One output for each request that got tokens, or that the runner says cannot go on.
        """
        outputs = []
        requests, errors, sampled_token_ids = self._requests, result.errors, result.sampled_token_ids
        for request_id, num_scheduled in scheduled.num_scheduled_tokens.items():
            request = requests.get(request_id)
            # One that waits is a namesake of a request that was finished meanwhile.
            if request is None or request.status is not RequestStatus.RUNNING:
                continue
            request.num_computed_tokens += num_scheduled
            if request.prompt_logprobs is not None:
                request.prompt_logprobs += result.prompt_logprobs.get(request_id, ())
            if request_id in errors:
                self._finish(request, FinishReason.ERROR, None)
                error = request.grammar_error or errors[request_id]
                outputs.append(_make_output(request, [], error=error))
                continue
            sampled = sampled_token_ids.get(request_id)
            caught_up = request.num_computed_tokens == request.num_tokens
            assert bool(sampled) == caught_up, f"request {request_id} got tokens {sampled} with caught_up={caught_up}"
            if sampled and request.grammar is not None:
                sampled = fit_tokens(request, sampled)
                # Without one that fits, the last token is computed again; its logits then have another bitmask.
                request.num_computed_tokens -= 0 if sampled else 1
            if sampled:
                outputs.append(self._append(request, sampled, result))
        return outputs

    def finish(
        self, request_ids: Iterable[str], reason: FinishReason, stop_reason: int | str | None = None
    ) -> list[EngineCoreOutput]:
        """Ends requests, at any moment; unknown and finished ones are ignored.

        Args:
            request_ids: The requests.
            reason: Why they end.
            stop_reason: The stop string that ended them, if one did.

        Returns:
            A last output without tokens for each request that was ended.
        """
        outputs = []
        for request_id in request_ids:
            request = self._requests.get(request_id)
            if request is not None:
                self._finish(request, reason, stop_reason)
                outputs.append(_make_output(request, []))
        return outputs

    def abandon_step(self, scheduled: SchedulerOutput) -> None:
        """Takes back a step that failed, instead of `update_from_output`.

        Nothing that it published can be found, its requests wait to be computed anew with all their tokens, and the
        next step drops again what this one should have dropped; a runner ignores ids that it does not know.

        Args:
            scheduled: What `schedule` returned last.
        """
        self._masks.settle()
        self._kv.unpublish_step()
        for request_id in scheduled.num_scheduled_tokens:
            request = self._requests.get(request_id)
            if request is not None and request.status is RequestStatus.RUNNING:
                self._preempt(request)
        self._runner.take_back_drops(scheduled)

    def reset_prefix_cache(self) -> bool:
        """Forgets all cached prefixes; False, and nothing changes, while requests hold blocks."""
        return self._kv.reset()

    def check_integrity(self) -> None:
        """Checks all books against each other; for idle moments and tests.

        Raises:
            AssertionError: A block is leaked, free twice, or a request is lost or in two places.
        """
        self._kv.check_integrity()
        self._waiting.check_integrity()
        self._running.check_integrity()
        queued = [request.request_id for queue in (self._waiting, self._running) for request in queue]
        if sorted(queued) != sorted(self._requests):
            raise AssertionError(f"queued requests {sorted(queued)} are not the unfinished {sorted(self._requests)}")
        for request in self._waiting:
            _check_waiting(request, self._kv.block_ids(request))
        for request in self._running:
            _check_running(request, len(self._kv.block_ids(request)[0]) * self._kv.block_size)
        running_ids = {request.request_id for request in self._running}
        if set(self._runner.known_request_ids) != running_ids:
            message = f"the runner knows {sorted(self._runner.known_request_ids)}, running are {sorted(running_ids)}"
            raise AssertionError(message)

    def _sampled_requests(self, step: SchedulerOutput) -> list[Request]:
        """Returns the requests that get a token in the step, in the order of the batch."""
        scheduled = ((self._requests[request_id], num) for request_id, num in step.num_scheduled_tokens.items())
        return [request for request, num in scheduled if request.num_computed_tokens + num == request.num_tokens]

    def _schedule_running(self, step: SchedulerOutput) -> int:
        """Schedules running requests; returns what is left of the token budget."""
        budget = self._max_num_batched_tokens
        running = self._running.in_order
        index = 0
        while index < len(running):
            request = running[index]
            num_behind, num_computed = len(running) - index - 1, request.num_computed_tokens
            # At least one: a request is admitted only with budget left after one token for each running one.
            num_scheduled = min(request.num_tokens - num_computed, budget - num_behind)
            new_block_ids = _NO_BLOCKS
            changes_blocks = self._kv.begins_or_fills_block(num_computed, num_scheduled)
            if changes_blocks:
                grown = self._grow(request, num_computed + num_scheduled)
                if grown is None:
                    break
                new_block_ids = (grown,)
            self._runner.add_cached(step, request, new_block_ids)
            step.num_scheduled_tokens[request.request_id] = num_scheduled
            if changes_blocks:
                self._kv.publish(request, num_computed + num_scheduled)
            budget -= num_scheduled
            index += 1
        return budget

    def _grow(self, request: Request, num_tokens: int) -> list[int] | None:
        """Returns new blocks for a running request, preempting from the end; None if its own turn came."""
        while True:
            new_block_ids = self._kv.grow(request, num_tokens)
            if new_block_ids is not None:
                return new_block_ids
            # Requests behind this one are not in the step yet, so nobody can have read what they would publish.
            victim = self._running[-1]
            self._preempt(victim)
            if victim is request:
                return None

    def _schedule_waiting(self, step: SchedulerOutput, budget: int) -> None:
        if not self._waiting:
            return
        num_reserved = sum(self._num_growth_blocks(request) for request in self._running)
        while self._waiting and budget > 0 and len(self._running) < self._max_num_seqs:
            request = self._waiting[0]
            num_reserved += self._num_growth_blocks(request)
            if not self._admit(request, num_reserved):
                break
            num_scheduled = min(request.num_tokens - request.num_computed_tokens, budget)
            self._runner.add_new(step, request, self._kv.block_ids(request))
            step.num_scheduled_tokens[request.request_id] = num_scheduled
            self._kv.publish(request, request.num_computed_tokens + num_scheduled)
            budget -= num_scheduled

    def _num_growth_blocks(self, request: Request) -> int:
        """Returns how many blocks more a request may take during its next block of tokens: 0 or 1."""
        num_tokens = request.num_tokens
        # K and V of an answer's last token are never needed.
        longest = min(request.num_prompt_tokens + request.max_tokens, self.max_model_len) - 1
        grown = min(num_tokens + self._kv.block_size, longest)
        return self._kv.num_blocks_for(grown) - self._kv.num_blocks_for(num_tokens)

    def _admit(self, request: Request, num_reserved_blocks: int) -> bool:
        """Lets a waiting request run if its blocks fit."""
        cached_block_ids = self._kv.find_cached(request)
        if not self._kv.admit(request, cached_block_ids, num_reserved_blocks):
            return False
        self._waiting.remove(request)
        self._running.add(request)
        request.status = RequestStatus.RUNNING
        request.num_computed_tokens = len(cached_block_ids) * self._kv.block_size
        if request.num_cached_tokens < 0:
            request.num_cached_tokens = request.num_computed_tokens
            request.first_scheduled_time = time.monotonic()
            if request.prefix_keys is not None and request.prompt_logprobs is None:
                self.prefix_cache_queries += request.num_tokens
                self.prefix_cache_hits += request.num_computed_tokens
        return True

    def _append(self, request: Request, sampled: list[int], result: ModelRunnerOutput) -> EngineCoreOutput:
        new_token_ids, finish = append_tokens(request, sampled, self.max_model_len)
        if request.grammar is not None:
            forced, finish = advance_grammar(request, new_token_ids, finish, self.max_model_len)
            new_token_ids = new_token_ids + forced
        if finish is not None:
            self._finish(request, finish.reason, finish.stop_reason)
        output = _make_output(request, new_token_ids, request.grammar_error)
        if finish is not None:
            output.has_end_token = finish.has_end_token
        if request.prompt_logprobs is not None:
            output.prompt_logprobs = request.take_prompt_logprobs()
        logprobs = result.logprobs.get(request.request_id)
        if logprobs is not None:
            output.new_logprobs = logprobs[: len(new_token_ids)]
        return output

    def _preempt(self, request: Request) -> None:
        """Takes a running request's blocks and lets it wait; it keeps its tokens."""
        self._running.remove(request)
        self._kv.free(request)
        self._runner.drop_preempted(request)
        request.status = RequestStatus.PREEMPTED
        request.num_computed_tokens = 0
        request.num_preemptions += 1
        self.num_preemptions_total += 1
        self._waiting.add(request)

    def _finish(self, request: Request, reason: FinishReason, stop_reason: int | str | None) -> None:
        """Ends a request wherever it is, and remembers to tell the runner if that knows it."""
        queue = self._running if request.status is RequestStatus.RUNNING else self._waiting
        queue.remove(request)
        self._kv.free(request)
        self._kv.forget(request)
        self._order.forget(request)
        del self._requests[request.request_id]
        self._num_grammars -= request.grammar is not None
        self._runner.drop_finished(request)
        request.status = RequestStatus.FINISHED
        request.finish_reason = reason
        request.stop_reason = stop_reason


def _make_output(request: Request, new_token_ids: list[int], error: str | None = None) -> EngineCoreOutput:
    output = EngineCoreOutput(request.request_id, new_token_ids)
    if request.num_cached_tokens > 0:
        output.num_cached_tokens = request.num_cached_tokens
    output.first_scheduled_time = request.first_scheduled_time
    if request.finish_reason is not None:
        output.finish_reason, output.stop_reason, output.error = request.finish_reason, request.stop_reason, error
    return output


def _check_waiting(request: Request, block_ids: tuple[list[int], ...]) -> None:
    if request.status not in {RequestStatus.WAITING, RequestStatus.PREEMPTED}:
        raise AssertionError(f"request {request.request_id} waits with status {request.status.name}")
    if any(block_ids) or request.num_computed_tokens:
        raise AssertionError(f"request {request.request_id} waits, but holds blocks {block_ids}")


def _check_running(request: Request, num_token_slots: int) -> None:
    if request.status is not RequestStatus.RUNNING:
        raise AssertionError(f"request {request.request_id} runs with status {request.status.name}")
    if not request.num_computed_tokens <= min(request.num_tokens, num_token_slots):
        message = (
            f"request {request.request_id} has computed {request.num_computed_tokens} of {request.num_tokens} tokens "
            f"with blocks for {num_token_slots}"
        )
        raise AssertionError(message)
