"""What comes out of the engine. Names and fields are vLLM's, so that a script moves by changing one import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm_local.request import FinishReason


@dataclass(frozen=True, slots=True)
class Logprob:
    """The log-probability of one token at one position.

    Attributes:
        logprob: Natural logarithm of the model's probability, before temperature and filters.
        rank: 1 for the most probable token; None where it was not computed.
        decoded_token: The token's own text; bytes that are no text by themselves read as replacement characters.
    """

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """The log-probabilities of one position, as plain numbers.

    Attributes:
        token_id: The token that was sampled, or that the prompt has there.
        logprob: Its log-probability.
        rank: Its rank, from 1.
        top_token_ids: The most probable tokens, best first; as many as the request asked for, or those that it named.
        top_logprobs: Their log-probabilities.
        top_ranks: Their ranks; None: 1, 2, 3 …, since they are the most probable.
    """

    token_id: int
    logprob: float
    rank: int
    top_token_ids: tuple[int, ...] = ()
    top_logprobs: tuple[float, ...] = ()
    top_ranks: tuple[int, ...] | None = None


@dataclass(slots=True)
class EngineCoreOutput:
    """What one step added to one request: from the scheduler to the output processor.

    Attributes:
        request_id: The request.
        new_token_ids: Its new tokens, cut at the end token and at `max_tokens`. The end token is included.
        new_logprobs: One per new token if the request asked for them, else None.
        prompt_logprobs: One per token of the prompt but the first, on the first output of a request that asked.
        finish_reason: Set on a request's last output, None before.
        stop_reason: The stop token id or stop string that ended it; None for the model's own end token.
        has_end_token: Whether its last token is one that ended it, and so no part of its text.
        num_cached_tokens: Prompt tokens that came from the prefix cache.
        first_scheduled_time: When its first step began, in seconds of `time.monotonic()`.
        error: What went wrong, where the finish reason is "error" and the runner said so.
    """

    request_id: str
    new_token_ids: list[int]
    new_logprobs: list[TokenLogprobs] | None = None
    prompt_logprobs: list[TokenLogprobs] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None
    has_end_token: bool = False
    num_cached_tokens: int = 0
    first_scheduled_time: float | None = None
    error: str | None = None


@dataclass(slots=True)
class CompletionOutput:
    """One of a request's answers.

    Attributes:
        index: Which of the n answers.
        text: Its text (all so far, or what is new: `SamplingParams.output_kind`).
        token_ids: Its tokens, likewise. An end token is included, text of an end token or a stop string is not.
        cumulative_logprob: Sum of the sampled tokens' log-probabilities, if asked for.
        logprobs: For each token the log-probabilities by token id, sampled token first, if asked for.
        finish_reason: "stop", "length", "abort" or None while it runs.
        stop_reason: The stop string or stop token id that ended it; None for the model's own end token.
    """

    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None = None
    logprobs: list[dict[int, Logprob]] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None

    @property
    def finished(self) -> bool:
        """Whether this answer has ended."""
        return self.finish_reason is not None


@dataclass(slots=True)
class RequestOutput:
    """The state of a request.

    Attributes:
        request_id: The request.
        prompt: The prompt's text where the caller gave text, else None.
        prompt_token_ids: The prompt's tokens.
        outputs: Its answers, by index; in a delta only those with something new.
        prompt_logprobs: For each of the prompt's tokens the log-probabilities by token id, the prompt's own first, if
            asked for; None for the first token, which follows nothing. Of deltas the first one has them.
        finished: Whether all n answers have ended.
        num_cached_tokens: Prompt tokens that came from the prefix cache.
        num_generated_tokens: Tokens generated so far over all n answers, whatever `outputs` carries.
        first_scheduled_time: When its first step began, in seconds of `time.monotonic()`.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput] = field(default_factory=list)
    finished: bool = False
    num_cached_tokens: int = 0
    num_generated_tokens: int = 0
    first_scheduled_time: float | None = None
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None
