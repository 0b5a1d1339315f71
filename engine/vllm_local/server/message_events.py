"""Answers of `/v1/messages`: whole, and as Anthropic's events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

from vllm_local.chat.deltas import Delta, ToolCallStart
from vllm_local.outputs import CompletionOutput, RequestOutput
from vllm_local.server.answer_routing import AnswerRouting
from vllm_local.server.answer_segments import Segment, Segments
from vllm_local.server.answers import Answer
from vllm_local.server.errors import anthropic_body, message_of, status_of
from vllm_local.server.usage import UsageCounter

_DELTAS = {
    "reasoning": ("thinking_delta", "thinking"),
    "content": ("text_delta", "text"),
    "call": ("input_json_delta", "partial_json"),
}


class MessageEvents:
    """A stream's events: a block for each stretch of thoughts or text and for each call, one after the other."""

    def __init__(self, answer_id: str, model: str, routing: AnswerRouting) -> None:
        """Begins a stream.

        Args:
            answer_id: The message's id.
            model: The model's name, as the request used it.
            routing: Reads the answer and counts its tokens.
        """
        self._answer_id = answer_id
        self._model = model
        self._routing = routing
        self._segments = Segments()
        self._last: CompletionOutput | None = None

    def begin(self) -> Iterator[dict[str, Any]]:
        """Yields the message without content."""
        head = _head(self._answer_id, self._model)
        yield {
            "type": "message_start",
            "message": {**head, "content": [], **_stop(None, None), **_usage(self._routing.usage)},
        }

    def add(self, index: int, output: RequestOutput) -> Iterator[dict[str, Any]]:
        """Yields what is new, and where one block ends and the next begins."""
        self._routing.usage.add(index, output)
        for delta in output.outputs:
            self._last = delta
            for part in self._routing.feed(delta.index, delta.text, is_last=delta.finish_reason is not None):
                yield from self._add(part)

    def end(self) -> Iterator[dict[str, Any]]:
        """Yields the end of the last block, and why the answer ended."""
        assert self._last is not None, "an answer has an end"
        if self._segments.begin_empty():
            yield _block_start(self._segments.items[0])
        yield {"type": "content_block_stop", "index": len(self._segments.items) - 1}
        reason = self._routing.finish_reason(0, self._last.finish_reason)
        yield {"type": "message_delta", "delta": _stop(reason, self._last.stop_reason), **_usage(self._routing.usage)}
        yield {"type": "message_stop"}

    def fail(self, error: Exception) -> Iterator[dict[str, Any]]:
        """Yields what went wrong."""
        yield anthropic_body(message_of(error), status_of(error).anthropic_kind)

    def _add(self, delta: Delta) -> Iterator[dict[str, Any]]:
        previous = self._segments.last
        begins = self._segments.add(delta)
        segment = self._segments.items[-1]
        if begins and previous is not None:
            yield {"type": "content_block_stop", "index": previous.index}
        if begins:
            yield _block_start(segment)
        if not isinstance(delta, ToolCallStart):
            kind, name = _DELTAS[segment.kind]
            yield {"type": "content_block_delta", "index": segment.index, "delta": {"type": kind, name: delta.text}}


def message_body(answer_id: str, model: str, routing: AnswerRouting, answer: Answer) -> dict[str, Any]:
    """Returns a whole answer; arguments as for `MessageEvents`."""
    segments = Segments(routing.feed(0, answer.text, is_last=True))
    segments.begin_empty()
    return {
        **_head(answer_id, model),
        "content": [_block(segment, segment.text) for segment in segments.items],
        **_stop(routing.finish_reason(0, answer.finish_reason), answer.stop_reason),
        **_usage(routing.usage),
    }


def _head(answer_id: str, model: str) -> dict[str, Any]:
    return {"id": answer_id, "type": "message", "role": "assistant", "model": model}


def _block_start(segment: Segment) -> dict[str, Any]:
    return {"type": "content_block_start", "index": segment.index, "content_block": _block(segment, "")}


def _block(segment: Segment, text: str) -> dict[str, Any]:
    if segment.kind == "reasoning":
        return {"type": "thinking", "thinking": text, "signature": ""}
    if segment.kind == "content":
        return {"type": "text", "text": text}
    return {"type": "tool_use", "id": segment.call_id, "name": segment.name, "input": _as_object(text)}


def _as_object(arguments: str) -> dict[str, Any]:
    """Returns a call's arguments; as much of them as there is if they were cut off, as Anthropic's clients do."""
    try:
        read = from_json(arguments, allow_partial=True)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _usage(usage: UsageCounter) -> dict[str, Any]:
    return {"usage": {"input_tokens": usage.num_prompt_tokens, "output_tokens": usage.num_completion_tokens}}


def _stop(finish_reason: str | None, stop_reason: int | str | None) -> dict[str, Any]:
    """Returns why an answer ended, in Anthropic's words."""
    if finish_reason is None:
        return {"stop_reason": None, "stop_sequence": None}
    if isinstance(stop_reason, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": stop_reason}
    reasons = {"length": "max_tokens", "tool_calls": "tool_use"}
    return {"stop_reason": reasons.get(finish_reason, "end_turn"), "stop_sequence": None}
