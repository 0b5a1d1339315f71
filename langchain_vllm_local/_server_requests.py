"""Requests to a server, and its addresses. Pure functions, no HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from langchain_core.messages import BaseMessage

from langchain_vllm_local._messages import to_openai_messages
from langchain_vllm_local._parameters import ChatParameters
from vllm_local.errors import InvalidConfigError, InvalidRequestError
from vllm_local.sampling_params import SamplingParams

_REASONING_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
_TEMPLATE_FIELDS = ("add_generation_prompt", "continue_final_message")
_VERSION_PATH = "/v1"


def check_request(parameters: ChatParameters, *, is_stream: bool) -> None:
    """Refuses what the engine in this process would refuse, in the same words.

    Raises:
        InvalidRequestError: A value is wrong.
    """
    sampling = SamplingParams(**{"max_tokens": None, **parameters.sampling})
    if parameters.cache_salt is not None and (not isinstance(parameters.cache_salt, str) or not parameters.cache_salt):
        message = f"cache_salt must be a text that is not empty, got {parameters.cache_salt!r}."
        raise InvalidRequestError(message, parameter="cache_salt")
    parameters.tool_request()
    parameters.answer_form()
    if is_stream:
        check_one_answer(sampling.n)


def check_one_answer(n: int) -> None:
    """Refuses several answers to a stream.

    Raises:
        InvalidRequestError: n is not 1.
    """
    if n > 1:
        message = f"n={n}: a stream has one answer; use invoke, batch or generate, or n=1."
        raise InvalidRequestError(message, parameter="n")


def has_schema_in_json_mode(parameters: ChatParameters) -> bool:
    """Whether a call asks for JSON mode with a schema, which OpenAI's API does not have."""
    wanted = parameters.response_format or {}
    return wanted.get("type") == "json_object" and "schema" in wanted


def chat_arguments(
    messages: Sequence[BaseMessage], parameters: ChatParameters, *, model: str, request_id: str
) -> dict[str, Any]:
    """Returns the arguments of `chat.completions.create` for one call.

    Args:
        messages: The conversation.
        parameters: The call's parameters.
        model: The name to use.
        request_id: Goes along as a header, so that the server's log can be searched for it.
    """
    return {
        "model": model,
        "messages": server_messages(messages),
        # All parameters as extra ones: OpenAI's client takes a TypeError for those that it does not know.
        "extra_body": extra_fields(parameters),
        "extra_headers": {"X-Request-Id": request_id.removeprefix("chatcmpl-"), **parameters.extra_headers},
        "extra_query": dict(parameters.extra_query),
    }


def extra_fields(parameters: ChatParameters) -> dict[str, Any]:
    """Returns all that a request says besides model and messages, by the API's names."""
    return {**_sampling_fields(parameters.sampling), **_control_fields(parameters)}


def tokenize_body(messages: Sequence[BaseMessage], parameters: ChatParameters, model: str) -> dict[str, Any]:
    """Returns the body of a request to `/tokenize` that asks for a conversation's prompt."""
    tools = {"tools": parameters.tools} if parameters.tools else {}
    return {"model": model, "messages": server_messages(messages), **_template_fields(parameters.template), **tools}


def server_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Converts a conversation; reasoning of earlier turns goes by vLLM's name too."""
    converted = to_openai_messages(messages)
    for message in converted:
        if "reasoning_content" in message:
            message["reasoning"] = message["reasoning_content"]
    return converted


def _sampling_fields(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Returns sampling parameters as the API has them, where log-probabilities are two switches."""
    fields = {name: value for name, value in sampling.items() if name != "logprobs"}
    if "logprobs" in sampling:
        fields["logprobs"] = True
        fields["top_logprobs"] = sampling["logprobs"]
    return fields


def _control_fields(parameters: ChatParameters) -> dict[str, Any]:
    fields = _template_fields(parameters.template)
    optional = {
        "tools": parameters.tools,
        "tool_choice": parameters.tool_choice if parameters.tools else None,
        "parallel_tool_calls": parameters.parallel_tool_calls if parameters.tools else None,
        "response_format": parameters.response_format,
        "structured_outputs": parameters.structured_outputs,
        "include_reasoning": None if parameters.include_reasoning else False,
        "thinking_token_budget": parameters.thinking_token_budget,
        "priority": parameters.priority or None,
        "cache_salt": parameters.cache_salt,
        "user": parameters.user,
    }
    return fields | {name: value for name, value in optional.items() if value is not None}


def _template_fields(template: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: template[name] for name in _TEMPLATE_FIELDS if name in template}
    effort = template.get("reasoning_effort")
    if isinstance(effort, str) and effort in _REASONING_EFFORTS:
        fields["reasoning_effort"] = effort
    rest = {name: value for name, value in template.items() if name not in fields}
    if "reasoning_effort" in fields and rest.get("enable_thinking") is True:
        # Servers conclude it from the effort; those that are not vLLM's kind know no template's words.
        del rest["enable_thinking"]
    return {**fields, "chat_template_kwargs": rest} if rest else fields


def normalized_base_url(base_url: str) -> str:
    """Returns a server's address as OpenAI's client takes it, with `/v1` where no path was given.

    Raises:
        InvalidConfigError: It is no address of a server.
    """
    parts = urlsplit(base_url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        message = f"base_url must look like http://localhost:8000/v1, got {base_url!r}."
        raise InvalidConfigError(message)
    path = parts.path.rstrip("/") or _VERSION_PATH
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def root_url(base_url: str) -> str:
    """Returns where `/tokenize` and `/health` are: beside `/v1`, below any prefix."""
    return base_url.removesuffix(_VERSION_PATH)
