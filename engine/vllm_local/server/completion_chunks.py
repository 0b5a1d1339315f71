"""Answers of `/v1/completions`: whole, and in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vllm_local.outputs import CompletionOutput, RequestOutput
from vllm_local.server.answer_options import SYSTEM_FINGERPRINT, AnswerOptions
from vllm_local.server.answers import Answer, DeltaBuffer
from vllm_local.server.errors import body_of
from vllm_local.server.logprobs import completion_logprobs, num_characters
from vllm_local.server.prompts import PromptTokens
from vllm_local.server.usage import UsageCounter


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

    def begin(self) -> Iterator[dict[str, Any]]:
        """Yields nothing: the first chunk of a choice has text."""
        yield from ()

    def add(self, index: int, output: RequestOutput) -> Iterator[dict[str, Any]]:
        """Yields a chunk for each choice that has something to show."""
        self._usage.add(index, output)
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
        self._offsets[place] = offset + num_characters(delta.token_ids, delta.logprobs)
        text = _echoed(self._prompts[index], delta.text, echo=self._echo and is_first)
        prompt = self._prompts[index] if is_first else None
        choice = _choice(self._options, place, delta, text, prompt=prompt, offset=offset)
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
        text = _echoed(prompt, answer.text, echo=echo)
        choices.append(_choice(options, place, answer.as_delta(place), text, prompt=prompt))
    return {
        **options.head("text_completion"),
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": SYSTEM_FINGERPRINT,
        "usage": usage.as_dict(),
        "kv_transfer_params": None,
    }


def _echoed(prompt: PromptTokens, text: str, *, echo: bool) -> str:
    return f"{prompt.text or ''}{text}" if echo else text


def _choice(
    options: AnswerOptions,
    place: int,
    delta: CompletionOutput,
    text: str,
    *,
    prompt: PromptTokens | None,
    offset: int = 0,
) -> dict[str, Any]:
    return {
        "index": place,
        "text": text,
        "logprobs": completion_logprobs(
            delta.token_ids, delta.logprobs, as_token_ids=options.as_token_ids, text_offset=offset
        ),
        "finish_reason": delta.finish_reason,
        "stop_reason": delta.stop_reason,
        "token_ids": delta.token_ids if options.return_token_ids else None,
        "prompt_logprobs": None,
        "prompt_token_ids": prompt.token_ids if prompt is not None and options.return_token_ids else None,
        "prompt_text": prompt.text if prompt is not None and options.return_prompt_text else None,
    }
