"""A request on its way through the engine, and the protocol of a grammar that constrains it."""

from __future__ import annotations

import enum
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vllm_local.outputs import TokenLogprobs
    from vllm_local.sampling_params import SamplingParams


class FinishReason(str, enum.Enum):
    """Why an answer ended. Every request ends in exactly one of them, or in an error."""

    STOP = "stop"
    """An end token, a stop token or a stop string."""
    LENGTH = "length"
    """`max_tokens`, or the end of the context."""
    ABORT = "abort"
    """The caller went away."""
    ERROR = "error"
    """The engine failed."""


class RequestStatus(enum.Enum):
    """Where a request stands in the scheduler."""

    WAITING = enum.auto()
    RUNNING = enum.auto()
    PREEMPTED = enum.auto()
    """Waiting again: its blocks were taken, its tokens are kept and computed anew."""
    FINISHED = enum.auto()


@dataclass(eq=False, slots=True)
class Request:
    """One answer to be generated. A user's request with `n > 1` becomes n of them.

    There is no prefill phase and no decode phase: `num_computed_tokens` catches up with `num_tokens`.

    Attributes:
        request_id: Unique in the engine.
        prompt_token_ids: The prompt.
        sampling_params: How to sample; `max_tokens` is a number here, never None.
        eos_token_ids: Tokens that end the answer unless `ignore_eos`.
        priority: Lower runs first where the policy is "priority".
        arrival_time: Seconds, `time.monotonic()`; breaks ties.
        choice_index: Which of the n answers this one is.
        seed: What the draws depend on, together with choice_index and the output position.
        prefix_keys: What the hash chain of the prompt's blocks starts from (a cache salt, later an adapter);
            requests share blocks only where these are equal. None: the request shares no blocks.
        bad_words_token_ids: The tokens of each way to write one of its `bad_words`.
        grammar: What constrains its answer, if anything does; it has taken in all output tokens but those of the end.
        grammar_error: Why the grammar failed, if it did.
        is_cut: Whether its grammar ends it where the model would go on, since nothing that it began there would fit.
        output_token_ids: Tokens sampled so far.
        prompt_logprobs: Log-probabilities of the prompt's tokens but the first, as far as they were computed; None:
            they are not asked for, or were handed out. The first of n answers has them for all.
        num_computed_tokens: Tokens whose K and V are in the cache.
        num_cached_tokens: Prompt tokens found in the prefix cache at first scheduling; -1 before that.
        first_scheduled_time: Seconds, `time.monotonic()`, of that moment; None before it.
        num_preemptions: How often its blocks were taken.
        status: Where it stands.
        finish_reason: Why it ended, or None while it runs.
        stop_reason: The stop string or stop token id that ended it; None for the model's own end token.
        ending_token_ids: Tokens that end the answer, end tokens and stop tokens, once it has `min_tokens` others.
        max_tokens: Most tokens of the answer.
    """

    request_id: str
    prompt_token_ids: list[int]
    sampling_params: SamplingParams
    eos_token_ids: frozenset[int] = frozenset()
    priority: int = 0
    arrival_time: float = field(default_factory=time.monotonic)
    choice_index: int = 0
    seed: int = 0
    prefix_keys: tuple[str, ...] | None = ()
    bad_words_token_ids: tuple[tuple[int, ...], ...] = ()
    grammar: Grammar | None = None
    grammar_error: str | None = None
    is_cut: bool = False
    output_token_ids: list[int] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprobs] | None = field(init=False, default=None)
    num_computed_tokens: int = 0
    num_cached_tokens: int = -1
    first_scheduled_time: float | None = None
    num_preemptions: int = 0
    status: RequestStatus = RequestStatus.WAITING
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None
    ending_token_ids: frozenset[int] = field(init=False)
    max_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        """Gathers from the parameters what every step looks at; gets ready for log-probabilities of the prompt."""
        params = self.sampling_params
        assert params.max_tokens is not None, "the engine resolves max_tokens before it makes a Request"
        self.max_tokens = params.max_tokens
        self.ending_token_ids = frozenset(params.stop_token_ids).union(() if params.ignore_eos else self.eos_token_ids)
        if self.choice_index == 0 and params.prompt_logprobs is not None:
            self.prompt_logprobs = []

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt in tokens."""
        return len(self.prompt_token_ids)

    @property
    def num_output_tokens(self) -> int:
        """Length of the answer so far in tokens."""
        return len(self.output_token_ids)

    @property
    def num_tokens(self) -> int:
        """Length of prompt and answer so far in tokens."""
        return len(self.prompt_token_ids) + len(self.output_token_ids)

    @property
    def max_cached_tokens(self) -> int:
        """How many leading tokens may come from the prefix cache; the logits of those behind them are needed."""
        num_described = self.num_tokens if self.prompt_logprobs is None else len(self.prompt_logprobs)
        return min(self.num_tokens - 1, num_described)

    @property
    def takes_forced_tokens(self) -> bool:
        """Whether tokens that its grammar forces may be appended without being sampled, hence without a score."""
        params = self.sampling_params
        return params.logprobs is None and params.allowed_token_ids is None and not params.bad_words

    @property
    def is_finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status is RequestStatus.FINISHED

    def take_prompt_logprobs(self) -> list[TokenLogprobs] | None:
        """Hands out the prompt's log-probabilities, which are complete, once."""
        taken, self.prompt_logprobs = self.prompt_logprobs, None
        assert taken is None or len(taken) == self.num_prompt_tokens - 1, f"{len(taken)} prompt logprobs are not all"
        return taken

    def token_ids(self, start: int, stop: int) -> list[int]:
        """Returns tokens [start, stop) of prompt and answer together, without copying the rest."""
        prompt_length = len(self.prompt_token_ids)
        if stop <= prompt_length:
            return self.prompt_token_ids[start:stop]
        if start >= prompt_length:
            return self.output_token_ids[start - prompt_length : stop - prompt_length]
        return self.prompt_token_ids[start:] + self.output_token_ids[: stop - prompt_length]


class Grammar(Protocol):
    """A constraint on a request's tokens, compiled before the request enters the scheduler.

    The scheduler's side (`core`) owns and advances it; the worker sees only bitmask rows.
    """

    def fill_bitmask(self, bitmask: npt.NDArray[np.int32], row: int) -> None:
        """Writes the allowed next tokens to `bitmask[row]`, one bit a token, 32 to an int32."""

    def accept(self, token_ids: Sequence[int]) -> bool:
        """Advances over the tokens; False, and no change, if they are not allowed."""

    def forced_tokens(self) -> list[int]:
        """Returns the run of tokens that is the only way on, or an empty list."""

    def fitting(self, token_ids: Sequence[int]) -> list[int]:
        """Returns sampled tokens, or the token to take instead where they leave no room for the end of the answer.

        The latter is then the only one that is allowed, until tokens are accepted.
        """

    def validate(self, token_ids: Sequence[int]) -> int:
        """Returns how many of the tokens would be accepted, without a change."""

    def rollback(self, num_tokens: int) -> None:
        """Takes back the last tokens."""

    def is_terminated(self) -> bool:
        """Whether the constraint is fulfilled and nothing but an end token may follow."""
