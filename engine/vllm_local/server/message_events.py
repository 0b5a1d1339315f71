"""Answers of `/v1/messages`: whole, and as Anthropic's events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vllm_local.outputs import CompletionOutput, RequestOutput
from vllm_local.server.answers import Answer
from vllm_local.server.errors import anthropic_body, message_of, status_of
from vllm_local.server.usage import UsageCounter


class MessageEvents:
    """A stream's events: one text block between a beginning and an end."""

    def __init__(self, answer_id: str, model: str, usage: UsageCounter) -> None:
        """Begins a stream.

        Args:
            answer_id: The message's id.
            model: The model's name, as the request used it.
            usage: Counts the tokens.
        """
        self._answer_id = answer_id
        self._model = model
        self._usage = usage
        self._last: CompletionOutput | None = None

    def begin(self) -> Iterator[dict[str, Any]]:
        """Yields the message without content, and the beginning of its text."""
        message = message_body(self._answer_id, self._model, self._usage, Answer())
        yield {"type": "message_start", "message": {**message, "content": []}}
        yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}

    def add(self, index: int, output: RequestOutput) -> Iterator[dict[str, Any]]:
        """Yields new text."""
        self._usage.add(index, output)
        for delta in output.outputs:
            self._last = delta
            if delta.text:
                yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": delta.text}}

    def end(self) -> Iterator[dict[str, Any]]:
        """Yields the end of the text, and why it ended."""
        assert self._last is not None, "an answer has an end"
        yield {"type": "content_block_stop", "index": 0}
        yield {
            "type": "message_delta",
            "delta": _stop(self._last.finish_reason, self._last.stop_reason),
            "usage": _usage(self._usage),
        }
        yield {"type": "message_stop"}

    def fail(self, error: Exception) -> Iterator[dict[str, Any]]:
        """Yields what went wrong."""
        yield anthropic_body(message_of(error), status_of(error).anthropic_kind)


def message_body(answer_id: str, model: str, usage: UsageCounter, answer: Answer) -> dict[str, Any]:
    """Returns a whole answer; arguments as for `MessageEvents`."""
    return {
        "id": answer_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": answer.text}],
        **_stop(answer.finish_reason, answer.stop_reason),
        "usage": _usage(usage),
    }


def _usage(usage: UsageCounter) -> dict[str, int]:
    return {"input_tokens": usage.num_prompt_tokens, "output_tokens": usage.num_completion_tokens}


def _stop(finish_reason: str | None, stop_reason: int | str | None) -> dict[str, Any]:
    """Returns why an answer ended, in Anthropic's words."""
    if finish_reason is None:
        return {"stop_reason": None, "stop_sequence": None}
    if isinstance(stop_reason, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": stop_reason}
    return {"stop_reason": "max_tokens" if finish_reason == "length" else "end_turn", "stop_sequence": None}
