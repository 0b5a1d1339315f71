"""The engine's outputs as LangChain's messages, with ChatOpenAI's metadata keys. Pure functions, no engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_vllm_local._chunks import REASONING, ChunkWriter
from vllm_local import __version__
from vllm_local.chat.deltas import ContentDelta, Delta, ReasoningDelta, ToolCallStart
from vllm_local.chat.stream_router import StreamRouter, parse_answer
from vllm_local.outputs import CompletionOutput, Logprob, RequestOutput

MODEL_PROVIDER = "vllm_local"
"""What `response_metadata["model_provider"]` and LangSmith's `ls_provider` say."""

_FINGERPRINT = f"vllm-local-{__version__}"


@dataclass(frozen=True)
class AnswerReader:
    """How the answers to one conversation are read.

    Attributes:
        make_router: Returns a new router for each answer.
        thinks: Whether the model may think before it answers, so that thoughts are counted.
        count_tokens: Counts a text's tokens.
        tool_is_named: The caller named the tool to call, so that an answer does not end for its sake.
        include_reasoning: Show what the model thought.
    """

    make_router: Callable[[], StreamRouter]
    thinks: bool
    count_tokens: Callable[[str], int]
    tool_is_named: bool = False
    include_reasoning: bool = True

    def finish_reason(self, reason: str | None, num_calls: int) -> str | None:
        """Returns why an answer ended, in OpenAI's words."""
        return "tool_calls" if reason == "stop" and num_calls and not self.tool_is_named else reason


def chat_result(output: RequestOutput, model_name: str, reader: AnswerReader, *, top_logprobs: int = 0) -> ChatResult:
    """Builds the answer to one conversation.

    Args:
        output: The finished request.
        model_name: The model's name as the caller knows it.
        reader: Reads its answers.
        top_logprobs: How many alternatives a token's logprobs list.

    Returns:
        One generation for each of the n answers. As with ChatOpenAI, each message's usage is the whole request's.
    """
    parsed = [parse_answer(reader.make_router(), answer.text) for answer in output.outputs]
    num_reasoning = (
        sum(reader.count_tokens(one.reasoning) for one in parsed if one.reasoning) if reader.thinks else None
    )
    shared = _shared_metadata(output, model_name, num_reasoning)
    generations = []
    for answer, one in zip(output.outputs, parsed, strict=True):
        reason = reader.finish_reason(answer.finish_reason, len(one.tool_calls))
        info = {"finish_reason": reason, "logprobs": openai_logprobs(answer, top_logprobs)}
        calls, invalid_calls = read_tool_calls(
            [(call.id, call.name, call.arguments) for call in one.tool_calls], is_cut_off=reason == "length"
        )
        message = AIMessage(
            content=one.content,
            additional_kwargs={REASONING: one.reasoning} if one.reasoning and reader.include_reasoning else {},
            tool_calls=calls,
            invalid_tool_calls=invalid_calls,
            usage_metadata=usage_metadata(output, num_reasoning),
            response_metadata={**shared, **info},
        )
        generations.append(ChatGeneration(message=message, generation_info=info))
    return ChatResult(generations=generations, llm_output=shared)


def read_tool_calls(
    calls: Sequence[tuple[str | None, str, str]], *, is_cut_off: bool = False
) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """Reads tool calls whose arguments are JSON texts.

    Args:
        calls: The id, name and arguments of each; some servers leave the arguments empty where there are none.
        is_cut_off: Whether the answer is: then empty arguments of the last call are arguments that did not come.

    Returns:
        Those whose arguments are an object, and the others: those that `max_tokens` cut off, say.
    """
    valid: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for number, (call_id, name, arguments) in enumerate(calls, start=1):
        nothing = "" if is_cut_off and number == len(calls) else "{}"
        try:
            args = json.loads(arguments or nothing)
        except ValueError as error:
            problem = f"The arguments of {name} are not JSON: {error}"
        else:
            if isinstance(args, dict):
                valid.append(tool_call(name=name, args=args, id=call_id))
                continue
            problem = f"The arguments of {name} are no JSON object."
        invalid.append(invalid_tool_call(name=name, args=arguments, id=call_id, error=problem))
    return valid, invalid


class ChunkStream:
    """Builds the chunks of a stream with one answer.

    LangChain adds chunks up, so names, usage and the finish reason are said once, on the last chunk.
    """

    def __init__(
        self, model_name: str, reader: AnswerReader, *, top_logprobs: int = 0, with_usage: bool = True
    ) -> None:
        """Begins a stream.

        Args:
            model_name: The model's name as the caller knows it.
            reader: Reads the answer.
            top_logprobs: How many alternatives a token's logprobs list.
            with_usage: Whether the last chunk carries the token counts.
        """
        self._model_name = model_name
        self._reader = reader
        self._top_logprobs = top_logprobs
        self._with_usage = with_usage
        self._router = reader.make_router()
        self._writer = ChunkWriter()
        self._thoughts: list[str] = []

    def chunks(self, output: RequestOutput) -> list[ChatGenerationChunk]:
        """Returns what a step adds.

        Args:
            output: What is new in the request.
        """
        chunks = [chunk for answer in output.outputs for chunk in self._answer_chunks(answer, output.finished)]
        return [*chunks, self._last_chunk(output)] if output.finished else chunks

    def _answer_chunks(self, answer: CompletionOutput, is_last: bool) -> list[ChatGenerationChunk]:
        deltas = self._router.feed(answer.text)
        if is_last:
            deltas += self._router.finish()
        messages = [message for message in map(self._message, deltas) if message is not None]
        logprobs = openai_logprobs(answer, self._top_logprobs)
        if logprobs is None:
            return [ChatGenerationChunk(message=message) for message in messages]
        # They belong to tokens, of which some are markup or held back.
        first, *others = messages or [AIMessageChunk(content="")]
        chunk = ChatGenerationChunk(message=first, generation_info={"logprobs": logprobs})
        return [chunk, *(ChatGenerationChunk(message=message) for message in others)]

    def _message(self, delta: Delta) -> AIMessageChunk | None:
        if isinstance(delta, ContentDelta):
            return self._writer.text(delta.text)
        if isinstance(delta, ReasoningDelta):
            self._thoughts.append(delta.text)
            return self._writer.reasoning(delta.text) if self._reader.include_reasoning else None
        if isinstance(delta, ToolCallStart):
            return self._writer.call(delta.index, call_id=delta.id, name=delta.name, arguments="")
        return self._writer.call(delta.index, arguments=delta.text)

    def _last_chunk(self, output: RequestOutput) -> ChatGenerationChunk:
        reason = next((answer.finish_reason for answer in output.outputs), None)
        num_reasoning = self._reader.count_tokens("".join(self._thoughts)) if self._reader.thinks else None
        message = AIMessageChunk(
            content="",
            tool_call_chunks=self._writer.cut_off() if reason == "length" else [],
            usage_metadata=usage_metadata(output, num_reasoning) if self._with_usage else None,
            response_metadata=_shared_metadata(output, self._model_name, num_reasoning),
            chunk_position="last",
        )
        info = {"finish_reason": self._reader.finish_reason(reason, self._router.num_calls)}
        return ChatGenerationChunk(message=message, generation_info=info)


def _shared_metadata(output: RequestOutput, model_name: str, num_reasoning: int | None) -> dict[str, Any]:
    return {
        "token_usage": _token_usage(output, num_reasoning),
        "model_name": model_name,
        "model_provider": MODEL_PROVIDER,
        "system_fingerprint": _FINGERPRINT,
        "id": output.request_id,
    }


def usage_metadata(output: RequestOutput, num_reasoning: int | None = None) -> UsageMetadata:
    """Counts a request's tokens in LangChain's form.

    Args:
        output: The request; tokens that were read from the prefix cache are part of its input.
        num_reasoning: Tokens of the output that were thoughts; None if the model does not think.
    """
    num_input, num_output = len(output.prompt_token_ids), output.num_generated_tokens
    usage = UsageMetadata(
        input_tokens=num_input,
        output_tokens=num_output,
        total_tokens=num_input + num_output,
        input_token_details=InputTokenDetails(cache_read=output.num_cached_tokens),
    )
    if num_reasoning is not None:
        usage["output_token_details"] = OutputTokenDetails(reasoning=num_reasoning)
    return usage


def _token_usage(output: RequestOutput, num_reasoning: int | None) -> dict[str, Any]:
    num_input, num_output = len(output.prompt_token_ids), output.num_generated_tokens
    reasoning = {} if num_reasoning is None else {"completion_tokens_details": {"reasoning_tokens": num_reasoning}}
    return {
        "prompt_tokens": num_input,
        "completion_tokens": num_output,
        "total_tokens": num_input + num_output,
        "prompt_tokens_details": {"cached_tokens": output.num_cached_tokens},
        **reasoning,
    }


def combine_llm_outputs(llm_outputs: Iterable[Mapping[str, Any] | None], model_name: str) -> dict[str, Any]:
    """Adds up the token usage of several conversations.

    Args:
        llm_outputs: `ChatResult.llm_output` of each; None where it was streamed or cached.
        model_name: Used where none of them names a model.
    """
    known = [output for output in llm_outputs if output]
    usages = [output["token_usage"] for output in known if output.get("token_usage")]
    if not usages:
        return {"token_usage": {}, "model_name": model_name}
    total = {
        name: sum(usage[name] for usage in usages) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    }
    cached = sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in usages)
    return {
        "token_usage": {**total, "prompt_tokens_details": {"cached_tokens": cached}},
        "model_name": known[0].get("model_name", model_name),
        "model_provider": MODEL_PROVIDER,
        "system_fingerprint": _FINGERPRINT,
    }


def openai_logprobs(answer: CompletionOutput, top_logprobs: int) -> dict[str, Any] | None:
    """Puts log-probabilities into the shape of OpenAI's chat API.

    Args:
        answer: An answer, or what is new in it.
        top_logprobs: How many alternatives to list; fewer come if the engine has fewer.

    Returns:
        `{"content": [{"token", "logprob", "bytes", "top_logprobs"}, ...]}`, or None where there are none.
    """
    if not answer.logprobs:
        return None
    content = []
    for token_id, by_id in zip(answer.token_ids, answer.logprobs, strict=True):
        ranked = sorted(by_id.values(), key=lambda item: (item.rank is None, item.rank or 0))
        content.append(
            {**_token_dict(by_id[token_id]), "top_logprobs": [_token_dict(x) for x in ranked[:top_logprobs]]}
        )
    return {"content": content}


def _token_dict(item: Logprob) -> dict[str, Any]:
    token = item.decoded_token or ""
    # A token that holds part of a character reads as U+FFFD; its bytes cannot be told from that text.
    known = item.decoded_token is not None and "\ufffd" not in token
    return {"token": token, "logprob": item.logprob, "bytes": list(token.encode()) if known else None}
