"""Answers of `/v1/chat/completions`: whole, and in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vllm_local.outputs import CompletionOutput, RequestOutput
from vllm_local.server.answer_options import SYSTEM_FINGERPRINT, AnswerOptions
from vllm_local.server.answers import Answer, DeltaBuffer
from vllm_local.server.errors import body_of
from vllm_local.server.logprobs import chat_logprobs, prompt_logprobs_body
from vllm_local.server.prompts import PromptTokens
from vllm_local.server.usage import UsageCounter

_NO_MESSAGE_PARTS = ("refusal", "annotations", "audio", "function_call", "reasoning")


class ChatChunks:
    """A stream's chunks: who speaks, what is said, the usage if asked for."""

    def __init__(self, options: AnswerOptions, prompt: PromptTokens, usage: UsageCounter, echo: str = "") -> None:
        """Begins a stream.

        Args:
            options: How it looks.
            prompt: The conversation; its text is shown where the options say so.
            usage: Counts the tokens.
            echo: What every answer begins with.
        """
        self._options = options
        self._head = options.head("chat.completion.chunk")
        self._prompt = prompt
        self._usage = usage
        self._echo = echo
        self._buffer = DeltaBuffer(options.interval)

    def begin(self) -> Iterator[dict[str, Any]]:
        """Yields one chunk a choice that says who speaks, and what is echoed."""
        extras = prompt_extras(self._options, self._prompt)
        for index in range(self._options.n):
            delta = {"role": self._options.role, "content": ""}
            yield self._chunk({"index": index, "delta": delta, "logprobs": None, "finish_reason": None}, **extras)
        for index in range(self._options.n if self._echo else 0):
            delta = {"content": self._echo}
            yield self._chunk({"index": index, "delta": delta, "logprobs": None, "finish_reason": None})

    def add(self, index: int, output: RequestOutput) -> Iterator[dict[str, Any]]:
        """Yields a chunk for each choice that has something to show."""
        self._usage.add(index, output)
        for delta in output.outputs:
            shown = self._buffer.add(delta.index, delta)
            if shown is not None and self._is_worth_it(shown):
                yield self._content_chunk(shown)

    def end(self) -> Iterator[dict[str, Any]]:
        """Yields the usage, if asked for."""
        if self._options.include_usage:
            yield {
                **self._head,
                "choices": [],
                "system_fingerprint": SYSTEM_FINGERPRINT,
                "usage": self._usage.as_dict(),
            }

    def fail(self, error: Exception) -> Iterator[dict[str, Any]]:
        """Yields what went wrong, in the shape of an ordinary error."""
        yield body_of(error)

    def _is_worth_it(self, delta: CompletionOutput) -> bool:
        """Text that is held back shows nothing yet; tokens and log-probabilities do."""
        shows_tokens = bool(delta.token_ids) and (self._options.return_token_ids or self._options.continuous_usage)
        return bool(delta.text or delta.logprobs or delta.finish_reason or shows_tokens)

    def _content_chunk(self, delta: CompletionOutput) -> dict[str, Any]:
        options = self._options
        choice: dict[str, Any] = {
            "index": delta.index,
            "delta": {"content": delta.text},
            "logprobs": chat_logprobs(
                delta.token_ids, delta.logprobs, top=options.top_logprobs, as_token_ids=options.as_token_ids
            ),
            "finish_reason": delta.finish_reason,
            "token_ids": delta.token_ids if options.return_token_ids else None,
        }
        if delta.finish_reason is None:
            return self._chunk(choice)
        choice["stop_reason"] = delta.stop_reason
        fingerprint = {} if options.include_usage else {"system_fingerprint": SYSTEM_FINGERPRINT}
        return self._chunk(choice, **fingerprint)

    def _chunk(self, choice: dict[str, Any], **extras: Any) -> dict[str, Any]:
        usage = {"usage": self._usage.as_dict()} if self._options.continuous_usage else {}
        return {**self._head, "choices": [choice], **extras, **usage}


def chat_body(
    options: AnswerOptions, prompt: PromptTokens, usage: UsageCounter, answers: Sequence[Answer], echo: str = ""
) -> dict[str, Any]:
    """Returns a whole answer; arguments as for `ChatChunks`."""
    return {
        **options.head("chat.completion"),
        "choices": [_choice(options, index, answer, echo) for index, answer in enumerate(answers)],
        "service_tier": None,
        "system_fingerprint": SYSTEM_FINGERPRINT,
        "usage": usage.as_dict(),
        "prompt_logprobs": prompt_logprobs_body(answers[0].prompt_logprobs),
        **prompt_extras(options, prompt),
        "kv_transfer_params": None,
    }


def prompt_extras(options: AnswerOptions, prompt: PromptTokens) -> dict[str, Any]:
    """Returns what a request may ask to see of its own prompt."""
    return {
        "prompt_token_ids": prompt.token_ids if options.return_token_ids else None,
        "prompt_text": prompt.text if options.return_prompt_text else None,
    }


def _choice(options: AnswerOptions, index: int, answer: Answer, echo: str) -> dict[str, Any]:
    content = echo + answer.text
    return {
        "index": index,
        "message": {"role": options.role, "content": content, **dict.fromkeys(_NO_MESSAGE_PARTS)},
        "logprobs": chat_logprobs(
            answer.token_ids, answer.logprobs, top=options.top_logprobs, as_token_ids=options.as_token_ids
        ),
        "finish_reason": answer.finish_reason,
        "stop_reason": answer.stop_reason,
        "token_ids": answer.token_ids if options.return_token_ids else None,
    }
