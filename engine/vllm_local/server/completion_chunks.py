"""Answers of `/v1/completions`: whole, and in chunks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from vllm_local.outputs import CompletionOutput, Logprob, RequestOutput
from vllm_local.server.answer_options import SYSTEM_FINGERPRINT, AnswerOptions
from vllm_local.server.answers import Answer, DeltaBuffer
from vllm_local.server.errors import body_of
from vllm_local.server.logprobs import completion_logprobs, num_characters, prompt_logprobs_body
from vllm_local.server.prompts import PromptTokens
from vllm_local.server.usage import UsageCounter

PromptLogprobs: TypeAlias = Sequence[dict[int, Logprob] | None]
"""For each token the log-probabilities by token id; None for a prompt's first one."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a choice shows of a delta, and of the prompt before it where that is echoed.

    Attributes:
        text: The text.
        token_ids: The tokens that log-probabilities are told of.
        logprobs: These, if asked for.
        first_token: Text of the prompt's first token, which has none.
    """

    text: str
    token_ids: Sequence[int]
    logprobs: PromptLogprobs | None
    first_token: str = ""

    @classmethod
    def of(cls, delta: CompletionOutput) -> Shown:
        """Returns a delta by itself."""
        return cls(delta.text, delta.token_ids, delta.logprobs)

    def after(self, prompt: PromptTokens, prompt_logprobs: PromptLogprobs | None, top: int) -> Shown:
        """Returns it with its prompt before it.

        Args:
            prompt: The prompt, with its text.
            prompt_logprobs: One entry a token of it, if they were computed.
            top: How many alternatives to list, where there may be more of them.
        """
        text = f"{prompt.text or ''}{self.text}"
        if self.logprobs is None or prompt_logprobs is None:
            return Shown(text, self.token_ids, self.logprobs)
        # The prompt's own token comes first; it is told of besides the alternatives, as in vLLM.
        cut = [by_id and dict(itertools.islice(by_id.items(), top + 1)) for by_id in prompt_logprobs]
        return Shown(text, [*prompt.token_ids, *self.token_ids], [*cut, *self.logprobs], prompt.first_token)

    @property
    def num_characters(self) -> int:
        """How far `text_offset` moves."""
        return num_characters(self.token_ids, self.logprobs, self.first_token)


class CompletionChunks:
    """A stream's chunks; the choices of all prompts are numbered through."""

    def __init__(
        self, options: AnswerOptions, prompts: Sequence[PromptTokens], usage: UsageCounter, *, echo: bool = False
    ) -> None:
        """Begins a stream.

        Args:
            options: How it looks.
            prompts: The prompts; with `echo` they have their texts.
            usage: Counts the tokens.
            echo: Begin every answer with its prompt.
        """
        self._options = options
        self._head = options.head("text_completion")
        self._prompts = prompts
        self._usage = usage
        self._echo = echo
        self._buffer = DeltaBuffer(options.interval)
        self._offsets: dict[int, int] = {}
        self._prompt_logprobs: dict[int, PromptLogprobs] = {}

    def begin(self) -> Iterator[dict[str, Any]]:
        """Yields nothing: the first chunk of a choice has text."""
        yield from ()

    def add(self, index: int, output: RequestOutput) -> Iterator[dict[str, Any]]:
        """Yields a chunk for each choice that has something to show."""
        self._usage.add(index, output)
        if output.prompt_logprobs is not None:
            self._prompt_logprobs[index] = output.prompt_logprobs
        for delta in output.outputs:
            place = index * self._options.n + delta.index
            shown = self._buffer.add(place, delta)
            is_first = place not in self._offsets
            if shown is not None and (self._is_worth_it(shown) or (self._echo and is_first)):
                yield self._chunk(index, place, shown)

    def end(self) -> Iterator[dict[str, Any]]:
        """Yields the usage, if asked for."""
        if self._options.include_usage:
            fingerprint = {"system_fingerprint": SYSTEM_FINGERPRINT}
            yield {**self._head, "choices": [], **fingerprint, "usage": self._usage.as_dict()}

    def fail(self, error: Exception) -> Iterator[dict[str, Any]]:
        """Yields what went wrong, in the shape of an ordinary error."""
        yield body_of(error)

    def _is_worth_it(self, delta: CompletionOutput) -> bool:
        shows_tokens = bool(delta.token_ids) and (self._options.return_token_ids or self._options.continuous_usage)
        return bool(delta.text or delta.logprobs or delta.finish_reason or shows_tokens)

    def _chunk(self, index: int, place: int, delta: CompletionOutput) -> dict[str, Any]:
        is_first, offset = place not in self._offsets, self._offsets.get(place, 0)
        prompt = self._prompts[index] if is_first else None
        shown = Shown.of(delta)
        if self._echo and prompt is not None:
            shown = shown.after(prompt, self._prompt_logprobs.get(index), self._options.top_logprobs)
        self._offsets[place] = offset + shown.num_characters
        choice = _choice(self._options, place, delta, shown, prompt=prompt, offset=offset)
        usage = {"usage": self._usage.as_dict()} if self._options.continuous_usage else {}
        return {**self._head, "choices": [choice], **usage}


def completion_body(
    options: AnswerOptions,
    prompts: Sequence[PromptTokens],
    usage: UsageCounter,
    answers: Sequence[Answer],
    *,
    echo: bool = False,
) -> dict[str, Any]:
    """Returns a whole answer; arguments as for `CompletionChunks`."""
    choices = []
    for place, answer in enumerate(answers):
        prompt = prompts[place // options.n]
        delta = answer.as_delta(place)
        shown = Shown.of(delta)
        if echo:
            shown = shown.after(prompt, answer.prompt_logprobs, options.top_logprobs)
        choice = _choice(options, place, delta, shown, prompt=prompt)
        choices.append({**choice, "prompt_logprobs": prompt_logprobs_body(answer.prompt_logprobs)})
    return {
        **options.head("text_completion"),
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": SYSTEM_FINGERPRINT,
        "usage": usage.as_dict(),
        "kv_transfer_params": None,
    }


def _choice(
    options: AnswerOptions,
    place: int,
    delta: CompletionOutput,
    shown: Shown,
    *,
    prompt: PromptTokens | None,
    offset: int = 0,
) -> dict[str, Any]:
    return {
        "index": place,
        "text": shown.text,
        "logprobs": completion_logprobs(
            shown.token_ids,
            shown.logprobs,
            as_token_ids=options.as_token_ids,
            text_offset=offset,
            first_token=shown.first_token,
        ),
        "finish_reason": delta.finish_reason,
        "stop_reason": delta.stop_reason,
        "token_ids": delta.token_ids if options.return_token_ids else None,
        "prompt_logprobs": None,
        "prompt_token_ids": prompt.token_ids if prompt is not None and options.return_token_ids else None,
        "prompt_text": prompt.text if prompt is not None and options.return_prompt_text else None,
    }
