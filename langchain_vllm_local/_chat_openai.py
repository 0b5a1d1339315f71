"""LangChain's `ChatOpenAI` on a server of ours or of vLLM. Imported with a server only."""

from __future__ import annotations

from typing import Any

import openai
from langchain_openai import ChatOpenAI  # noqa: TID253 - the same
from pydantic import SecretStr

from langchain_vllm_local._connection import (
    NO_KEY,
    ConnectionSettings,
    forget_environment,
    request_headers,
    transport_arguments,
)
from langchain_vllm_local._parameters import ChatParameters
from langchain_vllm_local._server_requests import extra_fields

_OWN_NAMES = ("temperature", "top_p", "n", "seed", "stop", "presence_penalty", "frequency_penalty", "logit_bias")


def chat_openai(settings: ConnectionSettings, parameters: ChatParameters, only_model: str | None) -> ChatOpenAI:
    """Returns a `ChatOpenAI` on a server.

    Args:
        settings: How to reach the server.
        parameters: What every call says; what OpenAI does not know goes along as `extra_body`.
        only_model: The server's model, where the parameters name none.
    """
    fields = extra_fields(parameters)
    own = {name: fields.pop(name) for name in (*_OWN_NAMES, "logprobs", "top_logprobs") if name in fields}
    transport = transport_arguments(settings.base_url, settings.proxy)
    key: Any = SecretStr(NO_KEY) if settings.api_key is None else settings.api_key
    chat = ChatOpenAI(
        model=parameters.model or only_model or "",
        base_url=settings.base_url,
        api_key=key,
        organization=settings.organization,
        openai_proxy=None,  # else that of the environment, beside clients that have their own
        default_headers=request_headers(settings),
        default_query=dict(settings.query) or None,
        http_client=openai.DefaultHttpxClient(**transport),
        http_async_client=settings.http_client or openai.DefaultAsyncHttpxClient(**transport),
        timeout=parameters.timeout,
        stream_usage=parameters.stream_usage,
        stream_chunk_timeout=settings.stream_chunk_timeout,
        use_responses_api=False,
        **{"max_retries": settings.max_retries} if settings.max_retries is not None else {},
        **own,
        # max_tokens among them: ChatOpenAI would rename it, which not every server understands.
        extra_body=fields or None,
    )
    chat.openai_organization = settings.organization
    for client in (chat.root_client, chat.root_async_client):
        if client is not None:
            forget_environment(client, settings)
    return chat
