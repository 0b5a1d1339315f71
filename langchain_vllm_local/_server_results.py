"""A server's answers as the messages that the engine's answers become. Pure functions, no HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_vllm_local._chunks import REASONING, ChunkWriter
from langchain_vllm_local._results import MODEL_PROVIDER, read_tool_calls

_REASONING_NAMES = ("reasoning", "reasoning_content")
"""vLLM's name for what a model thought, and its older one."""
_NOTHING_TO_SAY = ("refusal", "parsed")
_OWN_FINGERPRINT = "vllm-local-"


def is_own_card(card: Mapping[str, Any]) -> bool:
    """Whether a model's card of `/v1/models` is that of a server of this package."""
    return str(card.get("system_fingerprint", "")).startswith(_OWN_FINGERPRINT)


def complete_result(result: ChatResult, body: Mapping[str, Any], extra: Mapping[str, Any]) -> ChatResult:
    """Gives LangChain's reading of an answer the metadata that answers of the engine have.

    Args:
        result: The messages, with tool calls and usage read.
        body: The answer.
        extra: Further metadata, such as response headers.
    """
    shared = {**_shared_metadata(body), **extra}
    generations: list[ChatGeneration] = []
    for generation, choice in zip(result.generations, body["choices"], strict=True):
        info = {"finish_reason": choice.get("finish_reason"), "logprobs": _logprobs(choice.get("logprobs"))}
        message = cast("AIMessage", generation.message)
        message.response_metadata = {**shared, **info}
        message.usage_metadata = usage_without_blanks(message.usage_metadata)
        said = choice.get("message") or {}
        if reasoning := _reasoning(said):
            message.additional_kwargs[REASONING] = reasoning
        _take_tool_calls(message, said, is_cut_off=info["finish_reason"] == "length")
        for name in _NOTHING_TO_SAY:
            if message.additional_kwargs.get(name, ...) is None:
                del message.additional_kwargs[name]
        generations.append(ChatGeneration(message=message, generation_info=info))
    return ChatResult(generations=list(generations), llm_output=shared)


def annotated_chunk(chunk: ChatGenerationChunk, body: Mapping[str, Any]) -> ChatGenerationChunk:
    """Notes on a piece of a stream what `StreamAssembler` will say once, at the end.

    Args:
        chunk: LangChain's reading of the piece.
        body: The piece.
    """
    choices: Sequence[Mapping[str, Any]] = body.get("choices") or ({},)
    noted = {
        "finish_reason": choices[0].get("finish_reason"),
        "logprobs": _logprobs(choices[0].get("logprobs")),
        "body": {name: body[name] for name in ("id", "model", "system_fingerprint", "usage") if body.get(name)},
    }
    info = {**(chunk.generation_info or {}), **noted}
    message = cast("AIMessageChunk", chunk.message)
    if reasoning := _reasoning(choices[0].get("delta") or {}):
        message.additional_kwargs[REASONING] = reasoning
    message.response_metadata = {}
    return ChatGenerationChunk(message=message, generation_info=info)


class StreamAssembler:
    """Turns the pieces of a stream into chunks that add up: what is said once comes on the last one.

    Servers differ in where they put names, finish reason and usage, and LangChain adds up whatever it is given; a
    server that counts as it goes reports the usage again and again, of which the last counts.
    """

    def __init__(self, *, with_usage: bool) -> None:
        """Begins a stream.

        Args:
            with_usage: Whether the last chunk carries the token counts.
        """
        self._with_usage = with_usage
        self._body: dict[str, Any] = {}
        self._headers: dict[str, Any] = {}
        self._usage: UsageMetadata | None = None
        self._finish_reason: str | None = None
        self._writer = ChunkWriter()

    @property
    def is_complete(self) -> bool:
        """Whether the answer has ended, rather than the connection."""
        return self._finish_reason is not None

    def add(self, chunk: ChatGenerationChunk) -> list[ChatGenerationChunk]:
        """Returns what a piece adds to the answer: nothing yet, or a chunk for each kind of thing in it."""
        info = chunk.generation_info or {}
        message = cast("AIMessageChunk", chunk.message)
        self._body |= info.get("body", {})
        self._headers |= {name: info[name] for name in ("headers",) if name in info}
        self._finish_reason = info.get("finish_reason") or self._finish_reason
        self._usage = message.usage_metadata or self._usage
        messages = self._messages(message)
        logprobs = info.get("logprobs")
        if logprobs:
            messages = messages or [AIMessageChunk(content="")]
        infos = [{"logprobs": logprobs} if logprobs else None, *[None] * len(messages)]
        return [
            ChatGenerationChunk(message=one, generation_info=its_info)
            for one, its_info in zip(messages, infos, strict=False)
        ]

    def _messages(self, message: AIMessageChunk) -> list[AIMessageChunk]:
        messages = []
        rest = dict(message.additional_kwargs)
        if reasoning := rest.pop(REASONING, None):
            messages.append(self._writer.reasoning(reasoning))
        if message.content or rest:
            text = self._writer.text(message.text)
            text.additional_kwargs = rest
            messages.append(text)
        for call in message.tool_call_chunks:
            index = call["index"] or 0
            messages.append(self._writer.call(index, call_id=call["id"], name=call["name"], arguments=call["args"]))
        return messages

    def last(self) -> ChatGenerationChunk:
        """Returns the last chunk, which has all metadata."""
        message = AIMessageChunk(
            content="",
            tool_call_chunks=self._writer.cut_off() if self._finish_reason == "length" else [],
            usage_metadata=usage_without_blanks(self._usage) if self._with_usage else None,
            response_metadata={**_shared_metadata(self._body), **self._headers},
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message, generation_info={"finish_reason": self._finish_reason})


def usage_without_blanks(usage: UsageMetadata | None) -> UsageMetadata | None:
    """Drops details that say nothing."""
    if usage is None:
        return None
    kept = {name: value for name, value in usage.items() if value != {}}
    return cast("UsageMetadata", kept)


def _shared_metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "token_usage": _token_usage(body.get("usage") or {}),
        "model_name": body.get("model", ""),
        "model_provider": MODEL_PROVIDER,
        "system_fingerprint": body.get("system_fingerprint") or "",
        "id": body.get("id", ""),
    }


def _token_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    counts = {name: usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    # OpenAI's client names all details that it knows, those that the server did not send as None.
    told = usage.get("completion_tokens_details") or {}
    details = {name: count for name, count in told.items() if count is not None}
    more = {"completion_tokens_details": details} if details else {}
    return {**counts, "prompt_tokens_details": {"cached_tokens": cached}, **more}


def _logprobs(logprobs: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {"content": logprobs["content"]} if logprobs and logprobs.get("content") else None


def _reasoning(raw: Mapping[str, Any]) -> str | None:
    return next((raw[name] for name in _REASONING_NAMES if raw.get(name)), None)


def _take_tool_calls(message: AIMessage, raw: Mapping[str, Any], *, is_cut_off: bool) -> None:
    """Reads the calls as those of the engine are read."""
    calls = [
        (call.get("id"), function.get("name") or "", function.get("arguments") or "")
        for call in raw.get("tool_calls") or ()
        if (function := call.get("function"))
    ]
    message.tool_calls, message.invalid_tool_calls = read_tool_calls(calls, is_cut_off=is_cut_off)
