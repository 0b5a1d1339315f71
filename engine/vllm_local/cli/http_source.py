"""Answers from a server with OpenAI's API, as server-sent events."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import httpx

from vllm_local.cli.answers import Message, Piece
from vllm_local.cli.http_client import client_arguments, error_message, refused, unreachable
from vllm_local.errors import VLLMLocalError

DONE = "[DONE]"


class HTTPSource:
    """A server's model."""

    def __init__(self, client: httpx.Client, model_name: str, sampling: Mapping[str, Any]) -> None:
        """Takes over a client.

        Args:
            client: Its base URL is the one that ends in /v1; it is closed with the source.
            model_name: The model that shall answer.
            sampling: Sampling parameters; None leaves one to the server.
        """
        self._client = client
        self._model_name = model_name
        self._sampling = {name: value for name, value in sampling.items() if value is not None}

    @classmethod
    def connect(cls, url: str, api_key: str | None, model_name: str | None, sampling: Mapping[str, Any]) -> HTTPSource:
        """Finds a server and its first model, if none is named.

        Raises:
            VLLMLocalError: The server does not answer, or has no model.
        """
        client = httpx.Client(**client_arguments(url, api_key))
        try:
            return cls(client, model_name or first_model(client)["id"], sampling)
        except BaseException:
            client.close()
            raise

    @property
    def model_name(self) -> str:
        """The model that answers."""
        return self._model_name

    def chat(self, messages: Sequence[Message]) -> Generator[Piece, None, None]:
        """Answers a conversation."""
        return self._stream("/chat/completions", {"messages": list(messages)})

    def complete(self, prompt: str) -> Generator[Piece, None, None]:
        """Continues a text."""
        return self._stream("/completions", {"prompt": prompt})

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _stream(self, path: str, body: Mapping[str, Any]) -> Generator[Piece, None, None]:
        options = {"model": self._model_name, "stream": True, "stream_options": {"include_usage": True}}
        try:
            with self._client.stream("POST", path, json={**options, **self._sampling, **body}) as response:
                if response.is_error:
                    raise refused(response.status_code, response.read())
                yield from map(_read_chunk, read_events(response.iter_lines()))
        except httpx.HTTPError as error:
            raise unreachable(str(self._client.base_url), error) from error


def first_model(client: httpx.Client) -> dict[str, Any]:
    """Returns the first entry of a server's list of models.

    Raises:
        VLLMLocalError: The server does not answer, or has none.
    """
    try:
        response = client.get("/models")
    except httpx.HTTPError as error:
        raise unreachable(str(client.base_url), error) from error
    if response.is_error:
        raise refused(response.status_code, response.content)
    try:
        return dict(response.json()["data"][0])
    except (ValueError, LookupError, TypeError) as error:
        message = f"{client.base_url}models lists no model; --url should end in /v1, and the server should have one."
        raise VLLMLocalError(message) from error


def read_events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Returns the JSON of server-sent events, up to [DONE].

    Raises:
        VLLMLocalError: An event says that something went wrong.
    """
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == DONE:
            return
        try:
            event = json.loads(data)
        except ValueError as error:
            raise VLLMLocalError(f"The server sent what is no answer: {data[:200]!r}. Is --url right?") from error
        if "error" in event:
            raise VLLMLocalError(f"The server gave up the answer: {error_message(data.encode())}")
        yield event


def _read_chunk(event: Mapping[str, Any]) -> Piece:
    choices = event.get("choices") or [{}]
    text = choices[0].get("text") or (choices[0].get("delta") or {}).get("content") or ""
    usage = event.get("usage") or {}
    return Piece(text, usage.get("completion_tokens"))
