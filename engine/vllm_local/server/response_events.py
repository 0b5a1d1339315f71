"""Answers of `/v1/responses`: whole, and as its events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from vllm_local.chat.deltas import ContentDelta, Delta, ToolCallStart
from vllm_local.outputs import CompletionOutput, RequestOutput
from vllm_local.sampling_params import SamplingParams
from vllm_local.server.answer_routing import AnswerRouting
from vllm_local.server.answer_segments import Segment, Segments
from vllm_local.server.answers import Answer
from vllm_local.server.errors import message_of, status_of
from vllm_local.server.logprobs import chat_logprobs
from vllm_local.server.protocol.responses import ResponsesRequest

_PART_KINDS = {"reasoning": "reasoning_text", "content": "output_text"}


class ResponseShape:
    """One response: everything but its text, which comes in later."""

    def __init__(
        self,
        answer_id: str,
        model: str,
        request: ResponsesRequest,
        params: SamplingParams,
        routing: AnswerRouting,
    ) -> None:
        """Takes what the response repeats of its request.

        Args:
            answer_id: The response's id.
            model: The model's name, as the request used it.
            request: The request.
            params: How its answer is sampled.
            routing: Reads the answer.
        """
        self.routing = routing
        self._id = answer_id
        self._model = model
        self._request = request
        self._params = params
        self._created = int(time.time())

    def body(
        self,
        status: str,
        answer: Answer | None = None,
        segments: Segments | None = None,
        error: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Returns the response as it stands.

        Args:
            status: "in_progress" and "failed" are said here; a whole answer says itself how it ended.
            answer: The answer, once it is there.
            segments: What it says.
            error: What went wrong, if something did.
        """
        is_cut = answer is not None and answer.finish_reason == "length"
        request, params = self._request, self._params
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": "incomplete" if is_cut else status,
            "background": False,
            "error": error,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "model": self._model,
            "output": [] if answer is None or segments is None else self._items(answer, segments),
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": None,
            "prompt": None,
            "reasoning": request.reasoning.model_dump() if request.reasoning else None,
            "service_tier": "auto",
            "store": False,
            "temperature": params.temperature,
            "text": {"format": {"type": "text"}, **(request.text or {})},
            "tool_choice": request.tool_choice or "auto",
            "tools": request.tools or [],
            "top_logprobs": request.top_logprobs,
            "top_p": params.top_p,
            "truncation": "disabled",
            "usage": None if answer is None else self._usage(),
            "user": request.user,
            "metadata": request.metadata,
        }

    def item(self, segment: Segment, status: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """Returns an output item.

        Args:
            segment: A call is shown with as much of its arguments as there is.
            status: "in_progress", "completed" or "incomplete".
            parts: What it says, if it is no call.
        """
        item_id = self.item_id(segment)
        if segment.kind == "reasoning":
            shown = {"summary": [], "content": parts, "encrypted_content": None, "status": status}
            return {"id": item_id, "type": "reasoning", **shown}
        if segment.kind == "call":
            call = {"call_id": segment.call_id, "name": segment.name, "arguments": segment.text, "status": status}
            return {"id": item_id, "type": "function_call", **call}
        message = {"role": "assistant", "status": status, "content": parts, "phase": None}
        return {"id": item_id, "type": "message", **message}

    def item_id(self, segment: Segment) -> str:
        """Returns an id that tells an item from the response's others; its kind is its beginning."""
        if segment.kind == "call":
            return f"fc_{segment.call_id}"
        prefix = "rs" if segment.kind == "reasoning" else "msg"
        number = f"-{segment.index}" if segment.index else ""
        return self._id.replace("resp", prefix, 1) + number

    def part(self, segment: Segment, text: str, answer: Answer | None = None) -> dict[str, Any]:
        """Returns an item's one part.

        Args:
            segment: No call.
            text: What it says so far.
            answer: Whose tokens' log-probabilities are listed, where they are asked for.
        """
        part: dict[str, Any] = {"type": _PART_KINDS[segment.kind], "text": text}
        if segment.kind == "content":
            part |= {"annotations": [], "logprobs": [] if answer is None else self.logprobs(answer)}
        return part

    def done_item(self, segment: Segment, answer: Answer, *, is_last: bool) -> dict[str, Any]:
        """Returns an item with all that it says; the last one is incomplete if the answer was cut off."""
        is_cut = is_last and answer.finish_reason == "length"
        parts = [] if segment.kind == "call" else [self.part(segment, segment.text, answer)]
        return self.item(segment, "incomplete" if is_cut else "completed", parts)

    def _items(self, answer: Answer, segments: Segments) -> list[dict[str, Any]]:
        segments.begin_empty()
        last = segments.items[-1]
        return [self.done_item(segment, answer, is_last=segment is last) for segment in segments.items]

    def logprobs(self, answer: Answer) -> list[dict[str, Any]]:
        """Returns the tokens' log-probabilities, if asked for."""
        top = self._params.logprobs or 0
        shape = chat_logprobs(answer.token_ids, answer.logprobs, top=top, as_token_ids=False)
        return [] if shape is None else list(shape["content"])

    def _usage(self) -> dict[str, Any]:
        usage = self.routing.usage
        return {
            "input_tokens": usage.num_prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.num_cached_tokens},
            "output_tokens": usage.num_completion_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.num_reasoning_tokens or 0},
            "total_tokens": usage.num_prompt_tokens + usage.num_completion_tokens,
        }


class ResponseEvents:
    """A stream's events, numbered through: an item for each stretch of thoughts or text and for each call."""

    def __init__(self, shape: ResponseShape) -> None:
        """Begins a stream of a response."""
        self._shape = shape
        self._answer = Answer()
        self._segments = Segments()
        self._number = -1

    def begin(self) -> Iterator[dict[str, Any]]:
        """Yields the response without an answer."""
        for name in ("response.created", "response.in_progress"):
            yield self._event(name, response=self._shape.body("in_progress"))

    def add(self, index: int, output: RequestOutput) -> Iterator[dict[str, Any]]:
        """Yields what is new, and where one item ends and the next begins."""
        self._shape.routing.usage.add(index, output)
        for delta in output.outputs:
            self._answer.add(delta)
            is_last = delta.finish_reason is not None
            parts = self._shape.routing.feed(delta.index, delta.text, is_last=is_last)
            if delta.logprobs and all(not isinstance(part, ContentDelta) for part in parts) and not self._is_silent:
                parts.append(ContentDelta(""))
            for part in parts:
                yield from self._add(part, delta if part is parts[-1] else None)

    def end(self) -> Iterator[dict[str, Any]]:
        """Yields the end of the last item and the whole answer again, as OpenAI does."""
        if self._segments.begin_empty():
            yield from self._begin_item(self._segments.items[0])
        yield from self._end_item(self._segments.items[-1], is_last=True)
        body = self._shape.body("completed", self._answer, self._segments)
        yield self._event(f"response.{body['status']}", response=body)

    def fail(self, error: Exception) -> Iterator[dict[str, Any]]:
        """Yields what went wrong."""
        code = "server_error" if status_of(error).status >= 500 else "invalid_prompt"
        body = self._shape.body("failed", error={"code": code, "message": message_of(error)})
        yield self._event("response.failed", response=body)

    @property
    def _is_silent(self) -> bool:
        """Whether what comes now is no text, whose tokens' log-probabilities are not shown."""
        return self._segments.last is not None and self._segments.last.kind != "content"

    def _add(self, delta: Delta, tokens: CompletionOutput | None) -> Iterator[dict[str, Any]]:
        previous = self._segments.last
        begins = self._segments.add(delta)
        segment = self._segments.items[-1]
        if begins and previous is not None:
            yield from self._end_item(previous, is_last=False)
        if begins:
            yield from self._begin_item(segment)
        if isinstance(delta, ToolCallStart):
            return
        if segment.kind == "call":
            yield self._item_event("response.function_call_arguments.delta", segment, delta=delta.text)
        elif segment.kind == "reasoning":
            yield self._part_event("response.reasoning_text.delta", segment, delta=delta.text)
        else:
            piece = Answer() if tokens is None else Answer(token_ids=tokens.token_ids, logprobs=tokens.logprobs)
            logprobs = self._shape.logprobs(piece)
            yield self._part_event("response.output_text.delta", segment, delta=delta.text, logprobs=logprobs)

    def _begin_item(self, segment: Segment) -> Iterator[dict[str, Any]]:
        item = self._shape.item(segment, "in_progress", [])
        if segment.kind == "call":
            item["arguments"] = ""
        yield self._event("response.output_item.added", output_index=segment.index, item=item)
        if segment.kind != "call":
            yield self._part_event("response.content_part.added", segment, part=self._shape.part(segment, ""))

    def _end_item(self, segment: Segment, *, is_last: bool) -> Iterator[dict[str, Any]]:
        shape, answer = self._shape, self._answer
        if segment.kind == "call":
            done = {"name": segment.name, "arguments": segment.text}
            yield self._item_event("response.function_call_arguments.done", segment, **done)
        elif segment.kind == "reasoning":
            yield self._part_event("response.reasoning_text.done", segment, text=segment.text)
        else:
            logprobs = shape.logprobs(answer)
            yield self._part_event("response.output_text.done", segment, text=segment.text, logprobs=logprobs)
        if segment.kind != "call":
            part = shape.part(segment, segment.text, answer)
            yield self._part_event("response.content_part.done", segment, part=part)
        item = shape.done_item(segment, answer, is_last=is_last)
        yield self._event("response.output_item.done", output_index=segment.index, item=item)

    def _part_event(self, kind: str, segment: Segment, **fields: Any) -> dict[str, Any]:
        return self._item_event(kind, segment, content_index=0, **fields)

    def _item_event(self, kind: str, segment: Segment, **fields: Any) -> dict[str, Any]:
        return self._event(kind, item_id=self._shape.item_id(segment), output_index=segment.index, **fields)

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **fields}
