"""Answers of `/v1/responses`: whole, and as its events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from vllm_local.outputs import RequestOutput
from vllm_local.sampling_params import SamplingParams
from vllm_local.server.answers import Answer
from vllm_local.server.errors import message_of, status_of
from vllm_local.server.logprobs import chat_logprobs
from vllm_local.server.protocol.responses import ResponsesRequest
from vllm_local.server.usage import UsageCounter


class ResponseShape:
    """One response: everything but its text, which comes in later."""

    def __init__(
        self, answer_id: str, model: str, request: ResponsesRequest, params: SamplingParams, usage: UsageCounter
    ) -> None:
        """Takes what the response repeats of its request.

        Args:
            answer_id: The response's id.
            model: The model's name, as the request used it.
            request: The request.
            params: How its answer is sampled.
            usage: Counts the tokens.
        """
        self.usage = usage
        self._id = answer_id
        self._message_id = answer_id.replace("resp", "msg", 1)
        self._model = model
        self._request = request
        self._params = params
        self._created = int(time.time())

    @property
    def message_id(self) -> str:
        """The id of the one output item."""
        return self._message_id

    def body(self, status: str, answer: Answer | None = None, error: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns the response as it stands.

        Args:
            status: "in_progress" and "failed" are said here; a whole answer says itself how it ended.
            answer: The answer, once it is there.
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
            "output": [] if answer is None else [self.item(answer)],
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": None,
            "prompt": None,
            "reasoning": request.reasoning.model_dump() if request.reasoning else None,
            "service_tier": "auto",
            "store": False,
            "temperature": params.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": request.tool_choice or "auto",
            "tools": [],
            "top_logprobs": request.top_logprobs,
            "top_p": params.top_p,
            "truncation": "disabled",
            "usage": None if answer is None else self._usage(),
            "user": request.user,
            "metadata": request.metadata,
        }

    def item(self, answer: Answer | None) -> dict[str, Any]:
        """Returns the one output item, without content while it is in progress."""
        is_cut = answer is not None and answer.finish_reason == "length"
        status = "in_progress" if answer is None else "incomplete" if is_cut else "completed"
        content = [] if answer is None else [self.part(answer)]
        return {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
            "phase": None,
        }

    def part(self, answer: Answer) -> dict[str, Any]:
        """Returns the item's one part."""
        return {
            "type": "output_text",
            "text": answer.text,
            "annotations": [],
            "logprobs": self.logprobs(answer),
        }

    def logprobs(self, answer: Answer) -> list[dict[str, Any]]:
        """Returns the tokens' log-probabilities, if asked for."""
        top = self._params.logprobs or 0
        shape = chat_logprobs(answer.token_ids, answer.logprobs, top=top, as_token_ids=False)
        return [] if shape is None else list(shape["content"])

    def _usage(self) -> dict[str, Any]:
        usage = self.usage
        return {
            "input_tokens": usage.num_prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.num_cached_tokens},
            "output_tokens": usage.num_completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.num_prompt_tokens + usage.num_completion_tokens,
        }


class ResponseEvents:
    """A stream's events, numbered through."""

    def __init__(self, shape: ResponseShape) -> None:
        """Begins a stream of a response."""
        self._shape = shape
        self._answer = Answer()
        self._number = -1

    def begin(self) -> Iterator[dict[str, Any]]:
        """Yields the response without an answer, and the beginning of its one message."""
        for name in ("response.created", "response.in_progress"):
            yield self._event(name, response=self._shape.body("in_progress"))
        yield self._event("response.output_item.added", output_index=0, item=self._shape.item(None))
        yield self._part_event("response.content_part.added", part=self._shape.part(Answer()))

    def add(self, index: int, output: RequestOutput) -> Iterator[dict[str, Any]]:
        """Yields new text."""
        self._shape.usage.add(index, output)
        for delta in output.outputs:
            self._answer.add(delta)
            if delta.text or delta.logprobs:
                piece = Answer(token_ids=delta.token_ids, logprobs=delta.logprobs)
                logprobs = self._shape.logprobs(piece)
                yield self._part_event("response.output_text.delta", delta=delta.text, logprobs=logprobs)

    def end(self) -> Iterator[dict[str, Any]]:
        """Yields the whole text again, piece within piece, as OpenAI does."""
        shape, answer = self._shape, self._answer
        yield self._part_event("response.output_text.done", text=answer.text, logprobs=shape.logprobs(answer))
        yield self._part_event("response.content_part.done", part=shape.part(answer))
        yield self._event("response.output_item.done", output_index=0, item=shape.item(answer))
        body = shape.body("completed", answer)
        yield self._event(f"response.{body['status']}", response=body)

    def fail(self, error: Exception) -> Iterator[dict[str, Any]]:
        """Yields what went wrong."""
        code = "server_error" if status_of(error).status >= 500 else "invalid_prompt"
        body = self._shape.body("failed", error={"code": code, "message": message_of(error)})
        yield self._event("response.failed", response=body)

    def _part_event(self, name: str, **fields: Any) -> dict[str, Any]:
        return self._event(name, item_id=self._shape.message_id, output_index=0, content_index=0, **fields)

    def _event(self, name: str, **fields: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": name, "sequence_number": self._number, **fields}
