"""What the scheduler tells the model runner and what comes back: plain data, no Request objects.

A runner could therefore live in another process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    import numpy.typing as npt

    from vllm_local.outputs import TokenLogprobs
    from vllm_local.sampling_params import SamplingParams


CachedRequest: TypeAlias = tuple[str, list[int], tuple[list[int], ...], int]
"""One request's part of `CachedRequestData`."""


@dataclass(slots=True)
class NewRequestData:
    """A request that the runner does not know yet, or no longer (it was preempted).

    Attributes:
        request_id: The request.
        token_ids: Prompt, and after preemption also the answer so far.
        num_prompt_tokens: How many of them are prompt.
        num_computed_tokens: How many already have their K and V in the cache.
        block_ids: The block table, one list a KV group.
        sampling_params: How to sample.
        seed: What the draws depend on, with choice_index and the output position.
        choice_index: Which of the n answers.
        eos_token_ids: The model's end tokens, which `min_tokens` holds back.
        bad_words_token_ids: The tokens of each way to write one of the `bad_words`.
        prompt_logprobs_start: First position of the prompt whose following token is to be described, then all up to the
            prompt's end; None: none is.
    """

    request_id: str
    token_ids: list[int]
    num_prompt_tokens: int
    num_computed_tokens: int
    block_ids: tuple[list[int], ...]
    sampling_params: SamplingParams
    seed: int = 0
    choice_index: int = 0
    eos_token_ids: frozenset[int] = frozenset()
    bad_words_token_ids: tuple[tuple[int, ...], ...] = ()
    prompt_logprobs_start: int | None = None


@dataclass(slots=True)
class CachedRequestData:
    """What changed for the requests that the runner knows: lists with an entry for each request, as vLLM has them.

    Most steps have nothing else, so they are spared an object a request.

    Attributes:
        request_ids: The requests.
        new_token_ids: Tokens appended since the runner last heard of each (sampled, accepted or forced).
        new_block_ids: Blocks appended to its block table, one list a KV group.
        num_computed_tokens: Tokens whose K and V are in the cache before this step.
    """

    request_ids: list[str] = field(default_factory=list)
    new_token_ids: list[list[int]] = field(default_factory=list)
    new_block_ids: list[tuple[list[int], ...]] = field(default_factory=list)
    num_computed_tokens: list[int] = field(default_factory=list)

    def __iter__(self) -> Iterator[CachedRequest]:
        """Yields what changed for each request, in the order of the attributes."""
        columns = (self.request_ids, self.new_token_ids, self.new_block_ids, self.num_computed_tokens)
        return zip(*columns, strict=True)


@dataclass(slots=True)
class SchedulerOutput:
    """One step's work.

    Attributes:
        scheduled_new_requests: Requests the runner does not know.
        scheduled_cached_requests: What changed for those it knows.
        num_scheduled_tokens: Tokens to compute, by request id, in the order of the batch.
        finished_request_ids: Requests whose rows the runner drops before the step.
        preempted_request_ids: The same; they may come back as new ones, also in this very step.
        draft_token_ids: Speculative tokens to verify, by request id; empty in this version.
        grammar_bitmask: Future of the bitmask, one row a sampled row [rows, ceil(vocab / 32)], or None.
    """

    scheduled_new_requests: list[NewRequestData] = field(default_factory=list)
    scheduled_cached_requests: CachedRequestData = field(default_factory=CachedRequestData)
    num_scheduled_tokens: dict[str, int] = field(default_factory=dict)
    finished_request_ids: Sequence[str] = ()
    preempted_request_ids: Sequence[str] = ()
    draft_token_ids: dict[str, list[int]] = field(default_factory=dict)
    grammar_bitmask: Future[npt.NDArray[np.int32]] | None = None

    @property
    def total_num_scheduled_tokens(self) -> int:
        """Tokens in the step's ragged batch."""
        return sum(self.num_scheduled_tokens.values())


@dataclass(slots=True)
class ModelRunnerOutput:
    """One step's result.

    Attributes:
        sampled_token_ids: New tokens by request id. A request whose step ended before its last known token
            (a prefill chunk) has an empty list.
        logprobs: One per sampled token, for requests that asked.
        prompt_logprobs: One per token of the prompt that follows one of this step, for requests that asked.
        errors: Why a request cannot go on (its logits are no numbers, or nothing is allowed to follow), by request
            id. Its sampled token means nothing; it ends with `FinishReason.ERROR`, the others go on.
        draft_token_ids: Proposals for the next step, by request id; empty in this version.
    """

    sampled_token_ids: dict[str, list[int]] = field(default_factory=dict)
    logprobs: dict[str, list[TokenLogprobs]] = field(default_factory=dict)
    prompt_logprobs: dict[str, list[TokenLogprobs]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    draft_token_ids: dict[str, list[int]] = field(default_factory=dict)
