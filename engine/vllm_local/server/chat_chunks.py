"""Answers of `/v1/chat/completions`: whole, and in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vllm_local.chat.deltas import ContentDelta, Delta, ParsedAnswer, ReasoningDelta, ToolCallStart
from vllm_local.outputs import CompletionOutput, RequestOutput
from vllm_local.server.answer_options import SYSTEM_FINGERPRINT, AnswerOptions
from vllm_local.server.answer_routing import AnswerRouting
from vllm_local.server.answers import Answer, DeltaBuffer
from vllm_local.server.errors import body_of
from vllm_local.server.logprobs import chat_logprobs, prompt_logprobs_body
from vllm_local.server.prompts import PromptTokens

_NO_MESSAGE_PARTS = ("refusal", "annotations", "audio", "function_call")


class ChatChunks:
    """A stream's chunks: who speaks, what is thought, said and called, the usage if asked for."""

    def __init__(
        self,
        options: AnswerOptions,
        prompt: PromptTokens,
        routing: AnswerRouting,
        echo: str = "",
    ) -> None:
        """Begins a stream.

        Args:
            options: How it looks.
            prompt: The conversation; its text is shown where the options say so.
            routing: Reads the answers and counts their tokens.
            echo: What every answer begins with.
        """
        self._options = options
        self._head = options.head("chat.completion.chunk")
        self._prompt = prompt
        self._usage = routing.usage
        self._routing = routing
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
        """Yields chunks of each choice that has something to show."""
        self._usage.add(index, output)
        for delta in output.outputs:
            shown = self._buffer.add(delta.index, delta)
            if shown is not None:
                yield from self._content_chunks(shown)

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

    def _content_chunks(self, delta: CompletionOutput) -> Iterator[dict[str, Any]]:
        """Yields what a delta says, kind by kind; the last chunk has all that belongs to its tokens."""
        is_last = delta.finish_reason is not None
        parts = list(map(_delta_body, self._routing.feed(delta.index, delta.text, is_last=is_last)))
        for part in parts[:-1]:
            yield self._chunk({"index": delta.index, "delta": part, "logprobs": None, "finish_reason": None})
        if parts or self._is_worth_it(delta):
            yield self._last_chunk(delta, parts[-1] if parts else {"content": ""})

    def _is_worth_it(self, delta: CompletionOutput) -> bool:
        """Text that is held back shows nothing yet; tokens and log-probabilities do."""
        shows_tokens = bool(delta.token_ids) and (self._options.return_token_ids or self._options.continuous_usage)
        return bool(delta.logprobs or delta.finish_reason or shows_tokens)

    def _last_chunk(self, delta: CompletionOutput, part: dict[str, Any]) -> dict[str, Any]:
        options = self._options
        choice: dict[str, Any] = {
            "index": delta.index,
            "delta": part,
            "logprobs": chat_logprobs(
                delta.token_ids, delta.logprobs, top=options.top_logprobs, as_token_ids=options.as_token_ids
            ),
            "finish_reason": self._routing.finish_reason(delta.index, delta.finish_reason),
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
    options: AnswerOptions,
    prompt: PromptTokens,
    routing: AnswerRouting,
    answers: Sequence[Answer],
    *,
    echo: str = "",
) -> dict[str, Any]:
    """Returns a whole answer; arguments as for `ChatChunks`."""
    choices = [_choice(options, routing, index, answer, echo) for index, answer in enumerate(answers)]
    return {
        **options.head("chat.completion"),
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": SYSTEM_FINGERPRINT,
        "usage": routing.usage.as_dict(),
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


def _choice(options: AnswerOptions, routing: AnswerRouting, index: int, answer: Answer, echo: str) -> dict[str, Any]:
    return {
        "index": index,
        "message": {"role": options.role, **_message(routing.read(index, answer), echo)},
        "logprobs": chat_logprobs(
            answer.token_ids, answer.logprobs, top=options.top_logprobs, as_token_ids=options.as_token_ids
        ),
        "finish_reason": routing.finish_reason(index, answer.finish_reason),
        "stop_reason": answer.stop_reason,
        "token_ids": answer.token_ids if options.return_token_ids else None,
    }


def _message(answer: ParsedAnswer, echo: str) -> dict[str, Any]:
    """Returns what an answer says; a message that only calls has no content, as OpenAI's."""
    content = echo + answer.content
    message = {
        "content": content if content or not answer.tool_calls else None,
        **dict.fromkeys(_NO_MESSAGE_PARTS),
        "reasoning": answer.reasoning or None,
    }
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answer.tool_calls
        ]
    return message


def _delta_body(delta: Delta) -> dict[str, Any]:
    """Returns what a delta is in OpenAI's shape; thoughts go by vLLM's name and by the older one."""
    if isinstance(delta, ContentDelta):
        return {"content": delta.text}
    if isinstance(delta, ReasoningDelta):
        return {"reasoning": delta.text, "reasoning_content": delta.text}
    if isinstance(delta, ToolCallStart):
        call = {"id": delta.id, "type": "function", "function": {"name": delta.name, "arguments": ""}}
        return {"tool_calls": [{"index": delta.index, **call}]}
    return {"tool_calls": [{"index": delta.index, "function": {"arguments": delta.text}}]}
