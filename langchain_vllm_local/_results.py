"""The engine's outputs as LangChain's messages, with ChatOpenAI's metadata keys. Pure functions, no engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from vllm_local import __version__
from vllm_local.outputs import CompletionOutput, Logprob, RequestOutput

MODEL_PROVIDER = "vllm_local"
"""What `response_metadata["model_provider"]` and LangSmith's `ls_provider` say."""

_FINGERPRINT = f"vllm-local-{__version__}"


def chat_result(output: RequestOutput, model_name: str, *, top_logprobs: int = 0) -> ChatResult:
    """Builds the answer to one conversation.

    Args:
        output: The finished request.
        model_name: The model's name as the caller knows it.
        top_logprobs: How many alternatives a token's logprobs list.

    Returns:
        One generation for each of the n answers. As with ChatOpenAI, each message's usage is the whole request's.
    """
    shared = _shared_metadata(output, model_name)
    generations = []
    for answer in output.outputs:
        info = {"finish_reason": answer.finish_reason, "logprobs": openai_logprobs(answer, top_logprobs)}
        message = AIMessage(
            content=answer.text, usage_metadata=usage_metadata(output), response_metadata={**shared, **info}
        )
        generations.append(ChatGeneration(message=message, generation_info=info))
    return ChatResult(generations=generations, llm_output=shared)


def chat_chunks(
    output: RequestOutput, model_name: str, *, top_logprobs: int = 0, with_usage: bool = True
) -> list[ChatGenerationChunk]:
    """Builds the chunks for one step of a stream.

    LangChain adds chunks up, so names, usage and the finish reason are said once, on the last chunk.

    Args:
        output: What is new in a request with one answer.
        model_name: The model's name as the caller knows it.
        top_logprobs: How many alternatives a token's logprobs list.
        with_usage: Whether the last chunk carries the token counts.
    """
    chunks = []
    for answer in output.outputs:
        logprobs = openai_logprobs(answer, top_logprobs)
        if answer.text or logprobs:
            info = {"logprobs": logprobs} if logprobs else None
            message = AIMessageChunk(content=answer.text)
            chunks.append(ChatGenerationChunk(message=message, generation_info=info))
    if output.finished:
        chunks.append(_last_chunk(output, model_name, with_usage=with_usage))
    return chunks


def _last_chunk(output: RequestOutput, model_name: str, *, with_usage: bool) -> ChatGenerationChunk:
    finish_reason = next((answer.finish_reason for answer in output.outputs), None)
    message = AIMessageChunk(
        content="",
        usage_metadata=usage_metadata(output) if with_usage else None,
        response_metadata=_shared_metadata(output, model_name),
        chunk_position="last",
    )
    return ChatGenerationChunk(message=message, generation_info={"finish_reason": finish_reason})


def _shared_metadata(output: RequestOutput, model_name: str) -> dict[str, Any]:
    return {
        "token_usage": _token_usage(output),
        "model_name": model_name,
        "model_provider": MODEL_PROVIDER,
        "system_fingerprint": _FINGERPRINT,
        "id": output.request_id,
    }


def usage_metadata(output: RequestOutput) -> UsageMetadata:
    """Counts a request's tokens in LangChain's form; those read from the prefix cache are part of the input."""
    num_input, num_output = len(output.prompt_token_ids), output.num_generated_tokens
    return UsageMetadata(
        input_tokens=num_input,
        output_tokens=num_output,
        total_tokens=num_input + num_output,
        input_token_details=InputTokenDetails(cache_read=output.num_cached_tokens),
    )


def _token_usage(output: RequestOutput) -> dict[str, Any]:
    num_input, num_output = len(output.prompt_token_ids), output.num_generated_tokens
    return {
        "prompt_tokens": num_input,
        "completion_tokens": num_output,
        "total_tokens": num_input + num_output,
        "prompt_tokens_details": {"cached_tokens": output.num_cached_tokens},
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
