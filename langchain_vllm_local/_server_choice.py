"""From a chat model's fields to the server that they mean."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from langchain_vllm_local._fields import API_KEY_VARIABLE, ChatVLLMLocalFields
from langchain_vllm_local._server_backend import AttachedServer, ServerBackend, StartedServer
from langchain_vllm_local._server_command import own_server, vllm_server

if TYPE_CHECKING:
    from langchain_vllm_local._connection import ConnectionSettings


def server_backend(fields: ChatVLLMLocalFields, model: str | None = None) -> ServerBackend:
    """Returns the backend of a chat model that a server answers for.

    Args:
        fields: The chat model.
        model: Another model of the call: one more server is started for it, or the one that is there is asked for it.

    Raises:
        InvalidConfigError: An engine argument is wrong, or vLLM is not installed.
    """
    name = model or fields.model_name
    if fields.openai_api_base is not None:
        return ServerBackend(AttachedServer(_connection_settings(fields, fields.openai_api_base)), name)
    if fields.backend == "vllm":
        return ServerBackend(StartedServer(vllm_server(name, fields.engine_args)), name)
    fields.engine_config(model)  # refuses at once what the server would refuse after a while
    return ServerBackend(StartedServer(own_server(name, fields.engine_args)), name)


def _connection_settings(fields: ChatVLLMLocalFields, base_url: str) -> ConnectionSettings:
    from langchain_vllm_local._connection import ConnectionSettings

    key = fields.openai_api_key
    if key is None and (found := os.environ.get(API_KEY_VARIABLE)):
        key = SecretStr(found)
    return ConnectionSettings(
        base_url=base_url,
        api_key=key,
        organization=fields.openai_organization,
        proxy=fields.openai_proxy,
        headers=tuple((fields.default_headers or {}).items()),
        query=_hashable(fields.default_query or {}),
        max_retries=fields.max_retries,
        http_client=fields.http_async_client,
        stream_chunk_timeout=fields.stream_chunk_timeout,
        include_response_headers=fields.include_response_headers,
    )


def _hashable(query: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in query.items())
