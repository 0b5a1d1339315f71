"""Names and meanings of what a caller may say, at construction and per call. Pure functions, no engine.

`docs/parameters.md` is this file for users; a test holds the two together.
"""

from __future__ import annotations

import difflib
import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_vllm_local._messages import to_openai_tool_choice, to_openai_tools
from langchain_vllm_local._schemas import answer_schema, response_format_of
from vllm_local.chat.response_format import read_answer_form
from vllm_local.chat.tools import ToolRequest, read_tool_request
from vllm_local.config import ENGINE_ARGUMENT_NAMES
from vllm_local.errors import InvalidRequestError
from vllm_local.sampling_params import SamplingParams, StructuredOutputsParams

logger = logging.getLogger(__name__)

ALIASES: Mapping[str, str] = {
    "model": "model_name",
    "api_key": "openai_api_key",
    "base_url": "openai_api_base",
    "organization": "openai_organization",
    "timeout": "request_timeout",
    "max_completion_tokens": "max_tokens",
    "stop_sequences": "stop",
}
"""ChatOpenAI's second names, and the first names that they stand for."""

SAMPLING_NAMES: tuple[str, ...] = (
    "n",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "max_tokens",
    "min_tokens",
    "stop",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "allowed_token_ids",
    "bad_words",
    "skip_special_tokens",
)
"""Handed to the engine's SamplingParams as they are."""

REQUEST_NAMES: tuple[str, ...] = (
    "model_name",
    "request_timeout",
    "logprobs",
    "top_logprobs",
    "stream_usage",
    "reasoning_effort",
    "priority",
    "cache_salt",
    "chat_template_kwargs",
    "include_reasoning",
    "thinking_token_budget",
)
"""Honoured, but not by SamplingParams."""

GUIDED_NAMES: Mapping[str, str] = {
    "guided_json": "json",
    "guided_json_object": "json_object",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "guided_whitespace_pattern": "whitespace_pattern",
}
"""What vLLM once called the fields of `structured_outputs`."""

CALL_ONLY_NAMES: tuple[str, ...] = (
    *("tools", "tool_choice", "parallel_tool_calls", "response_format", "structured_outputs", *GUIDED_NAMES),
    *("add_generation_prompt", "continue_final_message"),
)
"""Honoured per call; they belong to one conversation, so the constructor has no fields for them."""

NO_EFFECT: Mapping[str, str] = {
    "openai_api_key": "the model runs in this process, so there is nobody to authenticate to",
    "openai_organization": "the model runs in this process",
    "openai_proxy": "the model runs in this process, without a network",
    "max_retries": "a call in this process has no connection that could fail",
    "tiktoken_model_name": "tokens are counted by the model's own tokenizer",
    "default_headers": "there is no HTTP request",
    "default_query": "there is no HTTP request",
    "extra_headers": "there is no HTTP request",
    "extra_query": "there is no HTTP request",
    "client": "there is no HTTP client",
    "async_client": "there is no HTTP client",
    "root_client": "there is no HTTP client",
    "root_async_client": "there is no HTTP client",
    "http_client": "there is no HTTP client",
    "http_async_client": "there is no HTTP client",
    "http_socket_options": "there is no socket",
    "stream_chunk_timeout": "there is no connection that could stall; `timeout` limits the whole request",
    "include_response_headers": "there is no HTTP response",
    "disabled_params": "it names parameters that a remote endpoint refuses",
    "service_tier": "there are no tiers; `priority` orders requests",
    "store": "nothing is stored",
    "prompt_cache_options": "prefixes are cached automatically; `cache_salt` keeps callers apart",
    "prompt_cache_key": "prefixes are cached automatically; `cache_salt` keeps callers apart",
    "user": "there is no account",
    "safety_identifier": "there is no account",
    "guided_decoding_backend": "there is one, llguidance",
    "stream_options": "`stream_usage` says whether a stream ends with its usage",
}
"""Accepted for the sake of scripts written for ChatOpenAI; the first use of each is logged."""

HONOURED_OVER_HTTP: frozenset[str] = frozenset(
    (
        "openai_api_key",
        "openai_organization",
        "openai_proxy",
        "max_retries",
        "default_headers",
        "default_query",
        "extra_headers",
        "extra_query",
        "http_async_client",
        "stream_chunk_timeout",
        "include_response_headers",
        "user",
    )
)
"""Of these, the ones that have an effect on a server that `base_url` names."""
HONOURED_BY_OWN_SERVER: frozenset[str] = frozenset(("extra_headers", "extra_query", "stream_chunk_timeout", "user"))
"""And on one that was started for this process."""

_NO_EFFECT_OVER_HTTP: Mapping[str, str] = {
    "openai_api_key": "the server is started with a key of its own, llm.server.api_key",
    "openai_organization": "the server is our own",
    "openai_proxy": "the server is on this machine",
    "max_retries": "a failure of a server on this machine is told at once; the next call starts another",
    "default_headers": "the server is our own; extra_headers= of a call has one",
    "default_query": "the server is our own",
    "http_async_client": "the server is our own",
    "include_response_headers": "the server is our own",
    "http_client": "one client of asyncio serves all callers; give http_async_client",
    "http_socket_options": "give http_async_client, with a transport that has them",
    "client": "the client is made from base_url and api_key",
    "async_client": "the client is made from base_url and api_key",
    "root_client": "the client is made from base_url and api_key",
    "root_async_client": "the client is made from base_url and api_key",
    "tiktoken_model_name": "tokens are counted by the server",
}

UNSUPPORTED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "reasoning": ((), "the Responses API is OpenAI's own; `reasoning_effort` reaches the chat template"),
    "verbosity": ((), "open models have no such switch; say in the prompt how long the answer should be"),
    "context_management": (([],), "the Responses API is OpenAI's own; trim the messages with `trim_messages`"),
    "include": (([],), "the Responses API is OpenAI's own; `logprobs=True` reports log-probabilities"),
    "truncation": (("disabled",), "messages are never dropped silently; trim them with `trim_messages`"),
    "use_previous_response_id": ((False,), "no conversation is kept; send the whole conversation"),
    "use_responses_api": ((False,), "the Responses API is OpenAI's own; leave it out"),
    "prompt_logprobs": ((), "LangChain's messages have no place for them; ask `vllm_local.LLM`, or a server"),
    "logprob_token_ids": (([],), "LangChain's messages have no place for them; ask `vllm_local.LLM`, or a server"),
    "functions": (([],), "OpenAI has replaced it by `tools`"),
    "function_call": (("auto", "none"), "OpenAI has replaced it by `tool_choice`"),
    "modalities": ((["text"],), "this engine writes text"),
    "audio": ((), "this engine writes text"),
    "prediction": ((), "predicted outputs are OpenAI's own"),
    "web_search_options": ((), "web search is OpenAI's own; give the model a tool"),
}
"""What would change the answer and cannot be had: the values that ask for nothing, and what to do instead."""

# `stream` and the formats of LangSmith are read by LangChain itself, which passes the first one on.
_PASSED_ON = ("stream", "extra_body", "model_kwargs", "ls_structured_output_format", "structured_output_format")

CALL_NAMES: frozenset[str] = frozenset(
    (*SAMPLING_NAMES, *REQUEST_NAMES, *CALL_ONLY_NAMES, *NO_EFFECT, *UNSUPPORTED, *_PASSED_ON)
)
"""Every first name that a call may use."""


@dataclass(frozen=True)
class ChatParameters:
    """One call's parameters, sorted by who reads them.

    Attributes:
        model: Model to run.
        sampling: Fields of SamplingParams that differ from the model's own defaults.
        tools: OpenAI-shaped tool definitions, or None.
        tool_choice: OpenAI's; None leaves it to the model.
        parallel_tool_calls: Whether one answer may call several tools; None is True.
        response_format: OpenAI's; None for free text.
        structured_outputs: Fields of vLLM's `StructuredOutputsParams`, or None.
        include_reasoning: Show what the model thought.
        thinking_token_budget: Most tokens of its thoughts; None is no limit.
        template: Further arguments of the chat template.
        timeout: Seconds for the whole request, queueing included; None waits for ever.
        priority: Lower runs first where the engine's policy is "priority".
        cache_salt: Requests share cached prefixes only with those of the same salt.
        stream_usage: Whether a stream's last chunk carries the token counts.
        user: For the server's own use.
        extra_headers: Headers of a request to a server.
        extra_query: Parts of its query.
    """

    model: str
    sampling: Mapping[str, Any] = field(default_factory=dict)
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    include_reasoning: bool = True
    thinking_token_budget: int | None = None
    template: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    priority: int = 0
    cache_salt: str | None = None
    stream_usage: bool = True
    user: str | None = None
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    extra_query: Mapping[str, Any] = field(default_factory=dict)

    def tool_request(self) -> ToolRequest:
        """Returns what the call says of tools, checked.

        Raises:
            InvalidRequestError: It is malformed.
        """
        return read_tool_request(self.tools, self.tool_choice, self.parallel_tool_calls)

    def answer_form(self) -> StructuredOutputsParams | None:
        """Returns what the answer must look like, checked; None if anything goes.

        Raises:
            InvalidRequestError: It is malformed, or said twice.
        """
        form = SamplingParams(structured_outputs=self.structured_outputs).structured_outputs  # type: ignore[arg-type]
        return read_answer_form(self.response_format, form)


def chat_parameters(
    settings: Mapping[str, Any],
    call: Mapping[str, Any],
    stop: Sequence[str] | str | None = None,
    *,
    honoured: frozenset[str] | None = None,
) -> ChatParameters:
    """Brings together what the constructor and the call say; the call wins.

    Args:
        settings: The constructor's values, by first name.
        call: The call's keywords, by any name; a None takes a setting back.
        stop: The call's `stop`, which LangChain passes by itself.
        honoured: Names of `NO_EFFECT` that do have an effect, since a server answers; None in this process.

    Raises:
        InvalidRequestError: A name that nobody knows, or a value that cannot be honoured.
    """
    values = {**_opened(settings), **_opened(call)}
    if stop is not None:
        values["stop"] = stop
    values = {name: value for name, value in values.items() if value is not None}
    for name, value in values.items():
        check_supported(name, value, honoured)
    tools = to_openai_tools(values.get("tools"))
    return ChatParameters(
        model=values["model_name"],
        sampling={**{name: values[name] for name in SAMPLING_NAMES if name in values}, **_logprobs(values)},
        tools=tools,
        tool_choice=to_openai_tool_choice(values.get("tool_choice"), tools),
        parallel_tool_calls=values.get("parallel_tool_calls"),
        response_format=response_format_of(values["response_format"]) if "response_format" in values else None,
        structured_outputs=_structured_outputs(values),
        include_reasoning=values.get("include_reasoning", True),
        thinking_token_budget=values.get("thinking_token_budget"),
        template=_template_arguments(values),
        timeout=timeout_seconds(values.get("request_timeout")),
        priority=values.get("priority", 0),
        cache_salt=values.get("cache_salt"),
        stream_usage=values.get("stream_usage", True),
        user=values.get("user"),
        extra_headers=values.get("extra_headers", {}),
        extra_query=values.get("extra_query", {}),
    )


def check_names(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuses names that nobody knows, and a first name together with its second name.

    Args:
        names: What the caller wrote.
        known: First names that may be used there.
        where: What to call the place in the message.

    Raises:
        InvalidRequestError: With the nearest name that is known.
    """
    known = frozenset(known)
    names = list(names)
    for name in names:
        first = ALIASES.get(name, name)
        if first not in known:
            raise InvalidRequestError(_unknown_name(name, known, where), parameter=name)
        if first != name and first in names:
            raise InvalidRequestError(f"{where} has both {name} and {first}, which are one.", parameter=name)


def _unknown_name(name: str, known: frozenset[str], where: str) -> str:
    message = f"{where} has no parameter {name!r}."
    if where == "engine_args" and (name == "model" or ALIASES.get(name, name) in CALL_NAMES):
        return f"{message} It stands beside them: ChatVLLMLocal({name}=..., engine_args=...)."
    if name in ENGINE_ARGUMENT_NAMES:
        return f"{message} It is an engine argument: ChatVLLMLocal(engine_args={{{name!r}: ...}})."
    candidates = sorted(known | {alias for alias, first in ALIASES.items() if first in known})
    nearest = difflib.get_close_matches(name, candidates, n=1)
    return f"{message} Did you mean {nearest[0]!r}?" if nearest else f"{message} docs/parameters.md lists them."


def check_supported(name: str, value: Any, honoured: frozenset[str] | None = None) -> None:
    """Refuses a value that asks for what cannot be had, and logs the first use of one without effect.

    Args:
        name: A first name.
        value: Its value.
        honoured: As for `chat_parameters`.

    Raises:
        InvalidRequestError: With what to do instead.
    """
    if name in UNSUPPORTED and value is not None:
        harmless, remedy = UNSUPPORTED[name]
        if value not in harmless:
            raise InvalidRequestError(f"{name}={value!r} is not supported: {remedy}.", parameter=name)
    if value and name in NO_EFFECT and name not in (honoured or ()):
        reasons = NO_EFFECT if honoured is None else {**NO_EFFECT, **_NO_EFFECT_OVER_HTTP}
        _log_no_effect(name, reasons[name])


@functools.cache  # so that each name is logged once
def _log_no_effect(name: str, reason: str) -> None:
    # Every script written for a server has to pass a key, so that one is not worth a warning.
    level = logging.INFO if name == "openai_api_key" else logging.WARNING
    logger.log(level, "%s has no effect here: %s.", name, reason)


def _opened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Opens model_kwargs and extra_body, which win over their surroundings, and uses first names."""
    check_names(values, CALL_NAMES, "A call")
    opened = {ALIASES.get(name, name): value for name, value in values.items() if name not in _PASSED_ON}
    for name in ("model_kwargs", "extra_body"):
        inner = values.get(name) or {}
        check_names(inner, CALL_NAMES - set(_PASSED_ON), name)
        opened |= {ALIASES.get(key, key): value for key, value in inner.items()}
    return opened


def _logprobs(values: Mapping[str, Any]) -> dict[str, int]:
    """OpenAI's two switches as vLLM's one number: how many alternatives to report."""
    wanted = values.get("logprobs", "top_logprobs" in values)
    if not isinstance(wanted, bool):
        raise InvalidRequestError(f"logprobs must be True or False, got {wanted!r}.", parameter="logprobs")
    if wanted:
        return {"logprobs": values.get("top_logprobs", 0)}
    if "top_logprobs" in values:
        raise InvalidRequestError("top_logprobs needs logprobs=True.", parameter="top_logprobs")
    return {}


def _structured_outputs(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Brings vLLM's names for the form of an answer together, the old ones and the new one."""
    given = values.get("structured_outputs", {})
    if isinstance(given, StructuredOutputsParams):
        given = {name: value for name, value in vars(given).items() if value not in (None, False)}
    if not isinstance(given, Mapping):
        message = f"structured_outputs must be a dict, got {given!r}."
        raise InvalidRequestError(message, parameter="structured_outputs")
    fields = {**given, **{name: values[guided] for guided, name in GUIDED_NAMES.items() if guided in values}}
    if isinstance(fields.get("json"), type):
        fields["json"] = answer_schema(fields["json"]).json_schema
    return fields or None


def _template_arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    names = ("reasoning_effort", "add_generation_prompt", "continue_final_message")
    arguments = {name: values[name] for name in names if name in values}
    if arguments.get("continue_final_message"):
        arguments.setdefault("add_generation_prompt", False)
    extra = values.get("chat_template_kwargs", {})
    if not isinstance(extra, Mapping):
        message = f"chat_template_kwargs must be a dict, got {extra!r}."
        raise InvalidRequestError(message, parameter="chat_template_kwargs")
    if arguments.get("reasoning_effort") is not None:
        arguments["enable_thinking"] = arguments["reasoning_effort"] != "none"  # as vLLM does
    return {**arguments, **extra}


def timeout_seconds(timeout: Any) -> float | None:
    """Reads a timeout as ChatOpenAI takes it.

    Args:
        timeout: Seconds, httpx's (connect, read, ...) tuple or its Timeout object, or None.

    Returns:
        The seconds that a request may take (of the other forms, the time to read), or None.

    Raises:
        InvalidRequestError: Anything else.
    """
    seconds = timeout
    if isinstance(timeout, (tuple, list)) and len(timeout) > 1:
        seconds = timeout[1]
    elif hasattr(timeout, "read"):
        seconds = timeout.read
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise InvalidRequestError(f"timeout must be a number of seconds above 0, got {timeout!r}.", parameter="timeout")
    return float(seconds)
