"""`ServerBackend`: answers conversations with a server, one that is there or one that this process starts.

Nothing here imports OpenAI's client before a server is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult

from langchain_vllm_local._backends import AsyncChunkGenerator, ChunkGenerator
from langchain_vllm_local._batching import result_for_current_batch
from langchain_vllm_local._errors import LocalTimeoutError
from langchain_vllm_local._http_loop import Relay, RelayAbortedError
from langchain_vllm_local._parameters import ChatParameters
from langchain_vllm_local._registry import Registry
from langchain_vllm_local._running import StartTimer, loop_timer, running, thread_timer
from langchain_vllm_local._server_command import ServerCommand
from langchain_vllm_local._server_requests import check_request

if TYPE_CHECKING:
    from langchain_vllm_local._connection import Connection, ConnectionSettings
    from langchain_vllm_local._server_process import ServerProcess


@dataclass(frozen=True)
class Server:
    """A server in use.

    Attributes:
        base_url: Its address, for any client of OpenAI's API.
        api_key: Its key.
        log_path: Where its log is, if this process has started it.
    """

    base_url: str
    api_key: str = field(repr=False)
    log_path: Path | None = None


class ServerSource(Protocol):
    """Where a server comes from."""

    def connection(self) -> Future[Connection]:
        """Returns the server's connection, once there is a server."""

    def known_connection(self) -> Connection | None:
        """Returns it if that takes no waiting."""

    def log_path(self) -> Path | None:
        """Returns where the server's log is, if it is ours and runs."""

    def close(self) -> None:
        """Ends the server, if it is ours."""


class AttachedServer:
    """A server that somebody else runs."""

    def __init__(self, settings: ConnectionSettings) -> None:
        """Notes how to reach it."""
        self._settings = settings

    def connection(self) -> Future[Connection]:
        """Returns a connection, which all chat models with the same settings share."""
        future: Future[Connection] = Future()
        future.set_result(_connection(os.getpid(), self._settings))
        return future

    def known_connection(self) -> Connection:
        """Returns the same."""
        return _connection(os.getpid(), self._settings)

    def log_path(self) -> None:
        """Returns None: the log is where the server is."""

    def close(self) -> None:
        """Does nothing: the server is somebody else's."""


@functools.lru_cache(maxsize=64)
def _connection(process_id: int, settings: ConnectionSettings) -> Connection:  # noqa: ARG001 - forks need their own
    from langchain_vllm_local._connection import Connection

    return Connection(settings)


class RunningServer:
    """A server of ours that answers.

    Attributes:
        process: The server.
        connection: Its client.
    """

    def __init__(self, process: ServerProcess, connection: Connection) -> None:
        """Belongs together."""
        self.process = process
        self.connection = connection

    def check_health(self) -> None:
        """Raises an error if the server has ended."""
        self.process.check_health()

    def close(self) -> None:
        """Ends the server."""
        self.process.close()


class StartedServer:
    """A server that this process starts: one for each command line, for all chat models in it."""

    def __init__(self, command: ServerCommand) -> None:
        """Notes how to start it; nothing is started yet."""
        self._command = command

    def running(self) -> Future[RunningServer]:
        """Returns the server, which the first caller starts; one that has ended is replaced."""
        return server_registry().server(self._command)

    def connection(self) -> Future[Connection]:
        """Returns its connection."""
        future: Future[Connection] = Future()
        self.running().add_done_callback(functools.partial(_pass_on, future))
        return future

    def known_connection(self) -> Connection | None:
        """Returns its connection if it runs."""
        server = server_registry().running_server(self._command)
        return server.connection if server else None

    def log_path(self) -> Path | None:
        """Returns where its log is."""
        server = server_registry().running_server(self._command)
        return server.process.log_path if server else None

    def close(self) -> None:
        """Ends it, also for other chat models that use it."""
        server_registry().close(self._command)


def _pass_on(future: Future[Connection], running_server: Future[RunningServer]) -> None:
    if error := running_server.exception():
        future.set_exception(error)
    else:
        future.set_result(running_server.result().connection)


class ServerRegistry:
    """The servers that one process has started, by their command lines."""

    def __init__(self) -> None:
        """Makes an empty registry."""
        self._servers: Registry[RunningServer] = Registry("vllm-local-serve")
        self._starting: dict[str, ServerProcess] = {}

    def server(self, command: ServerCommand) -> Future[RunningServer]:
        """Returns the server of this command line, which the first caller starts; one that has ended is replaced."""
        return self._servers.get(command.key, lambda: self._start(command))

    def running_server(self, command: ServerCommand) -> RunningServer | None:
        """Returns it if it answers."""
        return self._servers.ready(command.key)

    def close(self, command: ServerCommand | None = None) -> None:
        """Ends the server of this command line, or all of them, those that are starting too."""
        key = command.key if command else None
        for starting, process in list(self._starting.items()):
            if key in (None, starting):
                process.close()
        self._servers.close(key)

    def _start(self, command: ServerCommand) -> RunningServer:
        from langchain_vllm_local._server_process import ServerProcess

        process = self._starting[command.key] = ServerProcess(command)
        try:
            process.wait_until_ready()
            return RunningServer(process, _own_connection(process))
        except BaseException:
            process.stop()
            raise
        finally:
            del self._starting[command.key]


def _own_connection(process: ServerProcess) -> Connection:
    from pydantic import SecretStr

    from langchain_vllm_local._connection import Connection, ConnectionSettings

    settings = ConnectionSettings(f"{process.root_url}/v1", SecretStr(process.api_key), max_retries=0)
    connection = Connection(settings, process.death)
    # Also shows that it is ours that answers: no other server knows the key.
    next(iter(connection.models()))
    return connection


# Keyed by process id, as the engines' registry is.
_REGISTRIES: dict[int, ServerRegistry] = {}


def server_registry() -> ServerRegistry:
    """Returns the servers of this process, which all chat models in it share."""
    return _REGISTRIES.setdefault(os.getpid(), ServerRegistry())


class ServerBackend:
    """Answers conversations over HTTP."""

    def __init__(self, source: ServerSource, model: str) -> None:
        """Notes where the server comes from, and the model's name; empty is the only one that it has."""
        self.source = source
        self.model = model

    def generate(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> ChatResult:
        """Answers one conversation."""
        check_request(parameters, is_stream=False)
        relay = self._connected().answer(messages, parameters)
        with _watched(relay, parameters, thread_timer):
            return next(iter(relay))

    async def agenerate(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> ChatResult:
        """Answers one conversation without blocking the event loop."""
        check_request(parameters, is_stream=False)
        relay = (await self._aconnected()).answer(messages, parameters)
        with _watched(relay, parameters, loop_timer):
            return await anext(aiter(relay))

    def stream(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> ChunkGenerator:
        """Answers one conversation piece by piece; closing the iterator aborts the request."""
        check_request(parameters, is_stream=True)
        relay = self._connected().stream(messages, parameters)
        with _watched(relay, parameters, thread_timer):
            yield from relay

    async def astream(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> AsyncChunkGenerator:
        """The same without blocking the event loop."""
        check_request(parameters, is_stream=True)
        relay = (await self._aconnected()).stream(messages, parameters)
        with _watched(relay, parameters, loop_timer):
            async for chunk in relay:
                yield chunk

    def token_ids(self, text: str) -> list[int]:
        """Returns the text's tokens, without special ones around them."""
        return next(iter(self._connected().tokens(text, self.model)))

    def count_tokens(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> int:
        """Returns the length in tokens of the prompt that the conversation becomes."""
        return next(iter(self._connected().count(messages, parameters)))

    def known_max_model_len(self) -> int | None:
        """Returns the longest prompt and answer together, in tokens, if the server has told."""
        connection = self.source.known_connection()
        lengths = (connection.context_lengths if connection else None) or {}
        if not self.model and len(lengths) == 1:
            return next(iter(lengths.values()))
        return lengths.get(self.model)

    def keeps_forms_beside_tools(self) -> bool:
        """Whether an answer may be a tool call or else have a form; vLLM's own server makes no calls then."""
        connection = self.source.known_connection()
        return connection is not None and connection.is_ours

    def known_model(self) -> str | None:
        """Returns the name of the server's only model, if it was looked up."""
        connection = self.source.known_connection()
        return connection.only_model() if connection and len(connection.context_lengths or ()) == 1 else None

    def connection_settings(self) -> ConnectionSettings:
        """Returns how to reach the server, which is started if it does not run."""
        return self._connected().settings

    def server(self) -> Server:
        """Returns what other clients need to know of the server, which is started if it does not run."""
        from langchain_vllm_local._connection import plain_key

        settings = self.connection_settings()
        return Server(settings.base_url, plain_key(settings.api_key), self.source.log_path())

    def warm_up(self) -> None:
        """Starts the server, or asks for its models."""
        next(iter(self._connected().models()))

    async def awarm_up(self) -> None:
        """The same without blocking the event loop."""
        await anext(aiter((await self._aconnected()).models()))

    def shutdown(self) -> None:
        """Ends the server if this process has started it; the next call starts another."""
        self.source.close()

    def _connected(self) -> Connection:
        return result_for_current_batch(self.source.connection())

    async def _aconnected(self) -> Connection:
        return await asyncio.wrap_future(self.source.connection())


@contextlib.contextmanager
def _watched(relay: Relay[Any], parameters: ChatParameters, start_timer: StartTimer) -> Iterator[None]:
    """Ends the request with its caller, its batch or its time."""
    with running(relay, parameters.timeout, start_timer) as request:
        try:
            yield
        except RelayAbortedError as error:
            aborted = request.abort_error()
            if isinstance(aborted, LocalTimeoutError):
                from langchain_vllm_local._server_errors import ServerTimeoutError

                raise ServerTimeoutError(str(aborted)) from error
            raise aborted from error
