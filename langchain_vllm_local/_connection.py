"""One server as a chat model needs it: answers, streams, token counts, models. Imported with a server only."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import openai
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import SecretStr

from langchain_vllm_local._delegate import DelegateChatOpenAI
from langchain_vllm_local._errors import LocalInvalidRequestError, LocalUnsupportedInputError
from langchain_vllm_local._http_loop import Relay, process_loop
from langchain_vllm_local._parameters import ChatParameters
from langchain_vllm_local._server_errors import (
    ServerAPIError,
    ServerConnectionError,
    ServerStreamError,
    translate_http,
)
from langchain_vllm_local._server_requests import (
    chat_arguments,
    has_schema_in_json_mode,
    root_url,
    tokenize_body,
)
from langchain_vllm_local._server_results import StreamAssembler, is_own_card
from vllm_local.loopback import is_loopback_url

Item = TypeVar("Item")
Key = SecretStr | Callable[[], str] | Callable[[], Awaitable[str]] | None

NO_KEY = "EMPTY"
"""What servers without a key are sent; OpenAI's client would look for the user's own."""
_CONNECT_SECONDS = 10.0
_SHUTTING_DOWN = (ServerAPIError, ServerConnectionError, ServerStreamError)


@dataclass(frozen=True)
class ConnectionSettings:
    """How to reach a server.

    Attributes:
        base_url: Its address, with `/v1`.
        api_key: Its key, or what returns it.
        organization: OpenAI's header, for gateways.
        proxy: A proxy on the way.
        headers: Further headers.
        query: Further parts of the query.
        max_retries: How often a failed request is tried again; None is the client's default.
        http_client: A client of the user's to use.
        stream_chunk_timeout: Seconds without a chunk after which a stream fails; None waits.
        include_response_headers: Whether answers carry the response's headers.
    """

    base_url: str
    api_key: Key = field(default=None, repr=False)
    organization: str | None = None
    proxy: str | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query: tuple[tuple[str, Any], ...] = field(default=(), repr=False)
    max_retries: int | None = None
    http_client: Any = field(default=None, repr=False)
    stream_chunk_timeout: float | None = None
    include_response_headers: bool = False


class Connection:
    """A server's client, on the process's loop.

    Attributes:
        settings: How to reach the server.
        context_lengths: The longest prompt and answer of each model by name, once they were asked for.
        is_ours: Whether it is a server of this package, which keeps a form of answers beside tools, and schemas in
            JSON mode; False until its models were asked for.
    """

    def __init__(self, settings: ConnectionSettings, diagnose: Callable[[], Exception | None] | None = None) -> None:
        """Connects to nothing yet.

        Args:
            settings: How to reach the server.
            diagnose: Looks what has become of it after a broken connection; may take a moment.
        """
        self.settings = settings
        self.context_lengths: dict[str, int | None] | None = None
        self.is_ours = False
        self._diagnose = diagnose
        self._loop = process_loop()
        self._client = async_client(settings)
        self._delegate = DelegateChatOpenAI(
            model=NO_KEY,
            async_client=self._client.chat.completions,
            root_async_client=self._client,
            stream_usage=True,
            use_responses_api=False,
            stream_chunk_timeout=settings.stream_chunk_timeout,
            include_response_headers=settings.include_response_headers,
        )

    def answer(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> Relay[ChatResult]:
        """Asks for a whole answer."""
        return self._relay(lambda request_id: self._answer(messages, parameters, request_id))

    def stream(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> Relay[ChatGenerationChunk]:
        """Asks for an answer piece by piece."""
        return self._relay(lambda request_id: self._stream(messages, parameters, request_id))

    def tokens(self, text: str, model: str) -> Relay[list[int]]:
        """Asks for a text's tokens, without special ones around them."""
        return self._relay(lambda _: self._tokenize(model, {"prompt": text, "add_special_tokens": False}, "tokens"))

    def count(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> Relay[int]:
        """Asks for the length of the prompt that a conversation becomes."""
        body = tokenize_body(messages, parameters, parameters.model)
        return self._relay(lambda _: self._tokenize(parameters.model, body, "count"))

    def models(self) -> Relay[Mapping[str, int | None]]:
        """Asks for the names that the server knows, with their context lengths."""
        return self._relay(lambda _: self._models())

    def only_model(self) -> str:
        """Returns the name of the server's only model, once its models were asked for.

        Raises:
            LocalInvalidRequestError: It has several, or none.
        """
        names = list(self.context_lengths or ())
        if len(names) == 1:
            return names[0]
        has = f"has {len(names)} models: {', '.join(names)}" if names else "lists no model"
        message = (
            f"The server at {self.settings.base_url} {has}. Say which one: ChatVLLMLocal(model=..., base_url=...)."
        )
        raise LocalInvalidRequestError(message, parameter="model")

    # ── On the loop ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _relay(self, make: Callable[[str], AsyncGenerator[Item, None]]) -> Relay[Item]:
        request_id = f"chatcmpl-{os.urandom(16).hex()}"
        return Relay(self._loop, self._translated(make(request_id)), request_id)

    async def _translated(self, source: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
        try:
            async with aclosing(source):
                async for item in source:
                    yield item
        except Exception as error:
            translated = translate_http(error, self.settings.base_url)
            if self._diagnose is not None and isinstance(translated, _SHUTTING_DOWN):
                death = await asyncio.to_thread(self._diagnose)
                translated = translated if death is None else death
            if translated is error:
                raise
            raise translated from error

    async def _answer(
        self, messages: Sequence[BaseMessage], parameters: ChatParameters, request_id: str
    ) -> AsyncGenerator[ChatResult, None]:
        arguments = await self._arguments(messages, parameters, request_id)
        yield await self._delegate._agenerate([], payload=arguments)  # noqa: SLF001 - a delegate is called below its tracing

    async def _arguments(
        self, messages: Sequence[BaseMessage], parameters: ChatParameters, request_id: str
    ) -> dict[str, Any]:
        model = await self._model(parameters.model)
        if has_schema_in_json_mode(parameters) and not await self._knows_schemas_in_json_mode():
            parameters = replace(parameters, response_format={"type": "json_object"})
        return chat_arguments(messages, parameters, model=model, request_id=request_id)

    async def _knows_schemas_in_json_mode(self) -> bool:
        """Some servers refuse fields that they do not know, so others than our own are not sent it."""
        if self.context_lengths is None:
            with contextlib.suppress(openai.APIStatusError):
                await self._fetch_models()
        return self.is_ours

    async def _stream(
        self, messages: Sequence[BaseMessage], parameters: ChatParameters, request_id: str
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        arguments = await self._arguments(messages, parameters, request_id)
        assembler = StreamAssembler(with_usage=parameters.stream_usage)
        pieces = cast(
            "AsyncGenerator[ChatGenerationChunk, None]",
            self._delegate._astream([], payload=arguments),  # noqa: SLF001 - the same
        )
        async with aclosing(pieces):
            async for piece in pieces:
                for chunk in assembler.add(piece):
                    yield chunk
        if not assembler.is_complete:
            raise ConnectionError("the stream ended before the answer did")
        yield assembler.last()

    async def _tokenize(self, model: str, body: dict[str, Any], field_name: str) -> AsyncGenerator[Any, None]:
        url = f"{root_url(self.settings.base_url)}/tokenize"
        try:
            answer = await self._client.post(url, body={**body, "model": await self._model(model)}, cast_to=object)
        except (openai.NotFoundError, openai.APIStatusError) as error:
            if error.status_code not in (404, 405, 501) or "message" in (error.body or ()):  # type: ignore[operator]
                raise
            message = (
                f"The server at {self.settings.base_url} has no {url}, so it cannot count tokens. Give "
                "custom_get_token_ids=, or count with langchain_core.messages.utils.count_tokens_approximately."
            )
            raise LocalUnsupportedInputError(message) from error
        yield cast("dict[str, Any]", answer)[field_name]

    async def _model(self, name: str) -> str:
        if name:
            return name
        if self.context_lengths is None:
            await self._fetch_models()
        return self.only_model()

    async def _models(self) -> AsyncGenerator[Mapping[str, int | None], None]:
        yield await self._fetch_models()

    async def _fetch_models(self) -> Mapping[str, int | None]:
        answer = await self._client.get("/models", cast_to=object)
        cards = cast("dict[str, Any]", answer).get("data") or [] if isinstance(answer, dict) else []
        self.is_ours = bool(cards) and all(is_own_card(card) for card in cards)
        self.context_lengths = {card["id"]: card.get("max_model_len") for card in cards}
        return self.context_lengths


def async_client(settings: ConnectionSettings) -> openai.AsyncOpenAI:
    """Returns OpenAI's client for a server, which looks nothing up in the environment."""
    retries: dict[str, Any] = {} if settings.max_retries is None else {"max_retries": settings.max_retries}
    client = openai.AsyncOpenAI(
        api_key=_async_key(settings.api_key),
        base_url=settings.base_url,
        organization=settings.organization,
        timeout=openai.Timeout(None, connect=_CONNECT_SECONDS),
        default_headers=request_headers(settings),
        default_query=dict(settings.query) or None,
        http_client=settings.http_client
        or openai.DefaultAsyncHttpxClient(**transport_arguments(settings.base_url, settings.proxy)),
        **retries,
    )
    forget_environment(client, settings)
    return client


def transport_arguments(base_url: str, proxy: str | None = None) -> dict[str, Any]:
    """Returns how an HTTP client gets to a server: never through the environment's proxy on this machine."""
    return {"trust_env": not is_loopback_url(base_url), **({"proxy": proxy} if proxy else {})}


def request_headers(settings: ConnectionSettings) -> dict[str, str]:
    """Returns the headers of every request.

    On this machine a new connection costs nothing, and an old one may be closed by the server just when it is used.
    """
    close = {"Connection": "close"} if is_loopback_url(settings.base_url) else {}
    return {**close, **dict(settings.headers)}


def forget_environment(client: openai.OpenAI | openai.AsyncOpenAI, settings: ConnectionSettings) -> None:
    """Takes back what OpenAI's client has read from OPENAI_... variables: they are for OpenAI, not for this server."""
    client.organization = settings.organization
    client.project = None
    client._custom_headers = request_headers(settings)  # noqa: SLF001 - OPENAI_CUSTOM_HEADERS has no other way out
    if hasattr(client, "admin_api_key"):
        client.admin_api_key = None


def plain_key(key: Key) -> str:
    """Returns a key as text, once; one that is only to be had asynchronously stays unknown."""
    if isinstance(key, SecretStr):
        return key.get_secret_value() or NO_KEY
    value = key() if key is not None and not inspect.iscoroutinefunction(key) else NO_KEY
    return value if isinstance(value, str) else NO_KEY


def _async_key(key: Key) -> Any:
    if key is None:
        return NO_KEY
    if isinstance(key, SecretStr):
        return key.get_secret_value() or NO_KEY
    if inspect.iscoroutinefunction(key):
        return key

    async def call() -> str:
        value = await asyncio.to_thread(key)
        return value if isinstance(value, str) else await cast("Awaitable[str]", value)

    return call
