"""Every knob of sampling, its default and its bounds, once. Names and defaults are vLLM's."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, NoReturn

from vllm_local.errors import InvalidRequestError
from vllm_local.structured_outputs_params import StructuredOutputsParams
from vllm_local.thinking_budget import ThinkingBudget

__all__ = ["RequestOutputKind", "SamplingParams", "StructuredOutputsParams"]

MAX_LOGPROBS = 20
"""Most alternatives a token's logprobs may list (OpenAI's limit)."""
MAX_LOGPROB_TOKEN_IDS = 128
"""Most tokens that a request may name to have their logprobs listed (vLLM's limit)."""
MAX_STOP_STRINGS = 16
MAX_STOP_STRING_LENGTH = 1024
"""Characters; the detokeniser holds back as many, so a request must not make it large."""
MAX_BAD_WORDS = 1024
MAX_BAD_WORD_LENGTH = 1024
"""Characters."""
MAX_CHOICES = 128
"""Most answers (`n`) that one request may ask for."""


class RequestOutputKind(Enum):
    """What each output of a running request carries."""

    CUMULATIVE = 0
    """All text and tokens so far."""
    DELTA = 1
    """What is new since the last output."""
    FINAL_ONLY = 2
    """Nothing until the request ends, then everything."""


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How the answer to one request is sampled.

    Attributes:
        n: Answers to sample for the prompt, which they share.
        presence_penalty: Taken from the logit of every token already in the answer, in [-2, 2].
        frequency_penalty: The same, times the token's count in the answer, in [-2, 2].
        repetition_penalty: Divides positive and multiplies negative logits of tokens in prompt or answer;
            in [0.01, 100].
        temperature: 0 is greedy; otherwise logits are divided by it; in [0, 2].
        top_p: Keep the fewest tokens whose probabilities add up to it, in (0, 1].
        top_k: Keep that many tokens; 0 or -1 keeps all.
        min_p: Drop tokens less probable than it times the most probable one, in [0, 1].
        seed: Makes the draws repeatable; None draws a fresh one.
        stop: Strings that end the answer; they are not part of it.
        stop_token_ids: Tokens that end the answer besides the model's own; they are not part of its text.
        include_stop_str_in_output: Keep the stop string at the end of the text.
        ignore_eos: Go on after the model's end token.
        max_tokens: Most tokens of an answer; None takes the room that the context leaves.
        min_tokens: No end token and no stop string before so many tokens.
        logprobs: Report log-probabilities of each sampled token and of that many alternatives; None reports none.
        prompt_logprobs: The same for each token of the prompt but the first; such a prompt takes nothing from the
            prefix cache.
        logprob_token_ids: Report the log-probabilities of these tokens beside each sampled one, instead of the best.
        bad_words: Words that are not written, neither at the beginning of a text nor after a space: where the answer
            ends in all tokens of one but the last, that one is not sampled.
        logit_bias: Added to the logits, by token id, each in [-100, 100].
        allowed_token_ids: When given, no other token is sampled.
        skip_special_tokens: Leave special tokens out of the text.
        output_kind: What each output carries.
        structured_outputs: The form that the answer must have; a mapping of its fields will do.
        thinking_budget: Where thoughts are cut short, and how.
    """

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    logprob_token_ids: Sequence[int] | None = None
    bad_words: Sequence[str] = ()
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    allowed_token_ids: Sequence[int] | None = None
    skip_special_tokens: bool = True
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE
    structured_outputs: StructuredOutputsParams | None = None
    thinking_budget: ThinkingBudget | None = None

    def __post_init__(self) -> None:
        """Brings the fields to one form and checks them.

        Raises:
            InvalidRequestError: A value is of the wrong type or outside its bounds.
        """
        object.__setattr__(self, "stop", _as_strings(self.stop))
        object.__setattr__(self, "stop_token_ids", _as_token_ids("stop_token_ids", self.stop_token_ids))
        object.__setattr__(self, "bad_words", _as_bad_words(self.bad_words))
        if self.allowed_token_ids is not None:
            object.__setattr__(self, "allowed_token_ids", _as_token_ids("allowed_token_ids", self.allowed_token_ids))
        named = _as_token_ids("logprob_token_ids", self.logprob_token_ids)
        object.__setattr__(self, "logprob_token_ids", tuple(dict.fromkeys(named)) or None)
        object.__setattr__(self, "logit_bias", _as_logit_bias(self.logit_bias))
        object.__setattr__(self, "top_k", 0 if self.top_k == -1 else self.top_k)
        object.__setattr__(self, "structured_outputs", _as_structured_outputs(self.structured_outputs))
        _check_types(self)
        _check_bounds(self)

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0.0

    @property
    def reports_logprobs(self) -> bool:
        """Whether sampled tokens come with log-probabilities."""
        return self.logprobs is not None or self.logprob_token_ids is not None

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The stop strings in their one form."""
        return tuple(self.stop)

    def validate_for(self, vocab_size: int, max_model_len: int) -> None:
        """Checks what depends on the model.

        Args:
            vocab_size: Number of token ids.
            max_model_len: Longest prompt and answer together, in tokens.

        Raises:
            InvalidRequestError: A token id is out of range or `max_tokens` exceeds the context.
        """
        named = {
            "logit_bias": tuple(self.logit_bias),
            "stop_token_ids": tuple(self.stop_token_ids),
            "allowed_token_ids": tuple(self.allowed_token_ids or ()),
            "logprob_token_ids": tuple(self.logprob_token_ids or ()),
        }
        for name, token_ids in named.items():
            outside = [token_id for token_id in token_ids if token_id >= vocab_size]
            if outside:
                message = f"{name} holds token id {outside[0]}, but the model's vocabulary ends at {vocab_size - 1}."
                raise InvalidRequestError(message, parameter=name)
        if self.max_tokens is not None and self.max_tokens > max_model_len:
            message = (
                f"max_tokens={self.max_tokens} cannot be greater than max_model_len={max_model_len}. "
                "Please request fewer output tokens."
            )
            raise InvalidRequestError(message, parameter="max_tokens")


_INTEGERS = ("n", "top_k", "min_tokens")
_OPTIONAL_INTEGERS = ("seed", "max_tokens", "logprobs", "prompt_logprobs")
_TYPES: Mapping[str, tuple[type, str]] = {
    "include_stop_str_in_output": (bool, "must be True or False"),
    "ignore_eos": (bool, "must be True or False"),
    "skip_special_tokens": (bool, "must be True or False"),
    "output_kind": (RequestOutputKind, "must be a RequestOutputKind"),
}
_NUMBERS = (
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "temperature",
    "top_p",
    "min_p",
)
_BOUNDS: tuple[tuple[str, float, float, str], ...] = (
    ("n", 1, MAX_CHOICES, f"must be between 1 and {MAX_CHOICES}"),
    ("presence_penalty", -2, 2, "must be in [-2, 2]"),
    ("frequency_penalty", -2, 2, "must be in [-2, 2]"),
    # Far beyond these, logits leave float32's range.
    ("repetition_penalty", 0.01, 100, "must be in [0.01, 100]"),
    ("temperature", 0, 2, "must be in [0, 2]"),
    ("min_p", 0, 1, "must be in [0, 1]"),
    ("top_k", 0, math.inf, "must be 0 or -1 (all tokens) or at least 1"),
    ("min_tokens", 0, math.inf, "must be at least 0"),
    ("max_tokens", 1, math.inf, "must be at least 1"),
    ("logprobs", 0, MAX_LOGPROBS, f"must be between 0 and {MAX_LOGPROBS}"),
    ("prompt_logprobs", 0, MAX_LOGPROBS, f"must be between 0 and {MAX_LOGPROBS}"),
    ("seed", -(2**63), 2**63 - 1, "must fit in 64 bits"),
)


def _check_types(params: SamplingParams) -> None:
    for name in (*_INTEGERS, *_OPTIONAL_INTEGERS, *_NUMBERS):
        _check_number(name, getattr(params, name))
    for name, (kind, rule) in _TYPES.items():
        if not isinstance(getattr(params, name), kind):
            _refuse(name, rule, getattr(params, name))


def _check_bounds(params: SamplingParams) -> None:
    if params.temperature < 0:
        _refuse("temperature", "must be non-negative", params.temperature)
    for name, low, high, rule in _BOUNDS:
        value = getattr(params, name)
        if value is not None and not low <= value <= high:
            _refuse(name, rule, value)
    if not 0 < params.top_p <= 1:
        _refuse("top_p", "must be in (0, 1]", params.top_p)
    if params.max_tokens is not None and params.min_tokens > params.max_tokens:
        _refuse("min_tokens", f"must not exceed max_tokens={params.max_tokens}", params.min_tokens)
    if params.n > 1 and params.is_greedy:
        _refuse("n", "must be 1 when using greedy sampling (temperature 0)", params.n)
    _check_logprob_token_ids(params)


def _check_logprob_token_ids(params: SamplingParams) -> None:
    if params.logprob_token_ids is None:
        return
    count = len(params.logprob_token_ids)
    if count > MAX_LOGPROB_TOKEN_IDS:
        message = f"logprob_token_ids takes at most {MAX_LOGPROB_TOKEN_IDS} token ids, got {count}."
        raise InvalidRequestError(message, parameter="logprob_token_ids")
    if params.logprobs not in {None, count}:
        message = (
            f"logprobs={params.logprobs} with {count} logprob_token_ids: leave logprobs out, or let it be {count}."
        )
        raise InvalidRequestError(message, parameter="logprob_token_ids")


def _check_number(name: str, value: object) -> None:
    if value is None and name in _OPTIONAL_INTEGERS:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _refuse(name, "must be a number", value)
    elif name not in _NUMBERS and not isinstance(value, int):
        _refuse(name, "must be an integer", value)
    elif isinstance(value, float) and not math.isfinite(value):
        _refuse(name, "must be finite", value)


def _refuse(name: str, rule: str, value: object) -> NoReturn:
    raise InvalidRequestError(f"{name} {rule}, got {reprlib.repr(value)}.", parameter=name)


def _as_strings(stop: object) -> tuple[str, ...]:
    items: Sequence[object] = (stop,) if isinstance(stop, str) else stop if isinstance(stop, Sequence) else ()
    strings = tuple(item for item in items if isinstance(item, str))
    if len(strings) != len(items) or not (stop is None or isinstance(stop, (str, Sequence))):
        _refuse("stop", "must be a string or a list of strings", stop)
    if "" in strings:
        _refuse("stop", "must not hold an empty string", stop)
    if len(strings) > MAX_STOP_STRINGS or any(len(item) > MAX_STOP_STRING_LENGTH for item in strings):
        rule = f"takes at most {MAX_STOP_STRINGS} strings of at most {MAX_STOP_STRING_LENGTH} characters"
        raise InvalidRequestError(f"stop {rule}, got {len(strings)}.", parameter="stop")
    return strings


def _as_structured_outputs(given: object) -> StructuredOutputsParams | None:
    if given is None or isinstance(given, StructuredOutputsParams):
        return given
    if not isinstance(given, Mapping):
        _refuse("structured_outputs", "must be StructuredOutputsParams or a mapping of its fields", given)
    try:
        return StructuredOutputsParams(**given)
    except TypeError as error:
        message = f"structured_outputs has a field that there is not: {error}."
        raise InvalidRequestError(message, parameter="structured_outputs") from error


def _as_bad_words(bad_words: object) -> tuple[str, ...]:
    items = bad_words if isinstance(bad_words, Sequence) and not isinstance(bad_words, str) else ()
    words = tuple(dict.fromkeys(item for item in items if isinstance(item, str)))
    is_list = bad_words is None or items is bad_words
    if not is_list or any(not isinstance(item, str) for item in items):
        _refuse("bad_words", "must be a list of strings", bad_words)
    if any(not word.strip() for word in words):
        _refuse("bad_words", "must not hold an empty string", bad_words)
    if len(words) > MAX_BAD_WORDS or any(len(word) > MAX_BAD_WORD_LENGTH for word in words):
        rule = f"takes at most {MAX_BAD_WORDS} words of at most {MAX_BAD_WORD_LENGTH} characters"
        raise InvalidRequestError(f"bad_words {rule}, got {len(words)}.", parameter="bad_words")
    return words


def _as_token_ids(name: str, token_ids: Sequence[int] | None) -> tuple[int, ...]:
    is_many = token_ids is None or isinstance(token_ids, Iterable)
    values = tuple(token_ids or ()) if is_many else ()
    if not is_many or any(isinstance(item, bool) or not isinstance(item, int) or item < 0 for item in values):
        _refuse(name, "must be a list of token ids, integers from 0", token_ids)
    if name == "allowed_token_ids" and not values:
        _refuse(name, "must not be empty", token_ids)
    return values


def _as_logit_bias(logit_bias: Mapping[Any, float] | None) -> dict[int, float]:
    try:
        # Token ids arrive from JSON as texts.
        biases = {int(str(token_id)): float(bias) for token_id, bias in (logit_bias or {}).items()}
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        message = f"logit_bias must map token ids to numbers, got {reprlib.repr(logit_bias)}."
        raise InvalidRequestError(message, parameter="logit_bias") from error
    for token_id, bias in biases.items():
        if token_id < 0 or not -100 <= bias <= 100:
            _refuse("logit_bias", "must map token ids from 0 to numbers in [-100, 100]", {token_id: bias})
    return biases


SAMPLING_PARAM_NAMES: tuple[str, ...] = tuple(item.name for item in fields(SamplingParams))
"""Every field's name, for callers that tell a sampling parameter from their own."""
