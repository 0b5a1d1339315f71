"""From settings to a server that listens: bind, load, serve, drain, close."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

import vllm_local
from vllm_local.async_llm import AsyncLLM
from vllm_local.config import EngineConfig
from vllm_local.default_logging import show_messages
from vllm_local.errors import EngineClosedError, EngineDeadError, InvalidConfigError
from vllm_local.server.app import create_app
from vllm_local.server.http_protocol import http_protocol
from vllm_local.server.malloc import limit_arenas
from vllm_local.server.settings import ServerSettings

logger = logging.getLogger(__name__)

_FLUSH_SECONDS = 5.0
"""For the last bytes of answers to leave, once the engine has closed."""
_WATCH_SECONDS = 1.0
_KEEP_ALIVE_SECONDS = 75
"""Longer than clients and proxies keep idle connections (httpx: 5, load balancers: 60): were the server the first to
close one, a request that is just then sent on it would be lost."""


def run_server(config: EngineConfig, settings: ServerSettings) -> None:
    """Serves a model until SIGINT or SIGTERM; what runs then has `shutdown_timeout` seconds to finish.

    The address is taken before the model is loaded, which may take a while, and listens after that.

    Raises:
        VLLMLocalError: The address is in use, or the model cannot be loaded.
        EngineDeadError: The engine failed while the server ran.
    """
    show_messages()
    limit_arenas()
    with contextlib.closing(bind(settings)) as listener, _unlinking(settings), AsyncLLM(config) as engine:
        server = Server(engine, create_app(engine, settings), settings)
        _say_what_was_found(engine, settings)
        gc.freeze()  # else a body of many values has the collector walk all of torch's objects again and again
        server.run([listener])
        if server.engine_error is not None:
            raise server.engine_error


class Server(uvicorn.Server):
    """uvicorn, which also ends the engine: requests that are still running get an error instead of silence.

    Attributes:
        engine_error: What the engine died of, if it did; the server ends then.
    """

    def __init__(self, engine: AsyncLLM, app: FastAPI, settings: ServerSettings) -> None:
        """Takes the engine and the app that serves it."""
        super().__init__(_uvicorn_config(app, settings))
        self.engine_error: EngineDeadError | None = None
        self._engine = engine
        self._settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen, and says where."""
        await super().startup(sockets)
        for listener in sockets or ():
            logger.info("Listening on %s", address_of(listener, self._settings))

    async def on_tick(self, counter: int) -> bool:
        """Ends the server once its engine has died: whoever started it can start another."""
        if counter % round(_WATCH_SECONDS / 0.1) == 0:
            try:
                self._engine.check_health()
            except EngineDeadError as error:
                logger.exception("The engine has died; the server ends.")
                self.engine_error = error
                self.should_exit = True
            except EngineClosedError:
                self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets requests finish, then closes the engine, which answers those that are left with an error."""
        closer = asyncio.ensure_future(self._close_engine())
        try:
            await super().shutdown(sockets)
        finally:
            await closer

    async def _close_engine(self) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wait_until_idle(), self._settings.shutdown_timeout)
        await asyncio.get_running_loop().run_in_executor(None, self._engine.close)

    async def _wait_until_idle(self) -> None:
        while self.server_state.tasks and not self.force_exit:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.05)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes SIGINT and SIGTERM for as long as the server runs; a clean end is no error, so none is raised again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {item: signal.signal(item, self.handle_exit) for item in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for item, handler in handlers.items():
                signal.signal(item, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler gets both
        """Ends the server; a second time, without waiting for anybody."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True


def bind(settings: ServerSettings) -> socket.socket:
    """Takes the server's address; nobody is let in yet.

    Raises:
        InvalidConfigError: It cannot be had.
    """
    try:
        return _bind_unix(settings.uds) if settings.uds is not None else _bind_tcp(settings.host, settings.port)
    except (OSError, OverflowError) as error:
        where = f"uds={settings.uds}" if settings.uds is not None else f"host={settings.host}, port={settings.port}"
        in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        hint = "; choose another, or port=0 for a free one." if in_use else "."
        raise InvalidConfigError(f"The server cannot listen at {where}: {error}{hint}") from error


def address_of(listener: socket.socket, settings: ServerSettings) -> str:
    """Returns where the server can be reached, with the port that it was given."""
    if settings.uds is not None:
        return f"unix:{settings.uds}"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{settings.scheme}://{shown}:{port}{settings.root_path}"


def _bind_tcp(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two servers have one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def _bind_unix(path: str) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise InvalidConfigError("uds is not supported on this system; leave it out and use port.")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(path)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Removes a socket that a server left behind, at which nobody listens."""
    try:
        is_socket = stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116 - pathlib's raises where it is too long
    except FileNotFoundError:
        return
    if not is_socket:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(1)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            Path(path).unlink()


@contextlib.contextmanager
def _unlinking(settings: ServerSettings) -> Iterator[None]:
    try:
        yield
    finally:
        if settings.uds is not None:
            Path(settings.uds).unlink(missing_ok=True)


def _uvicorn_config(app: FastAPI, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=http_protocol(settings.header_timeout, settings.send_timeout),
        ws="none",
        lifespan="off",
        log_level=settings.uvicorn_log_level,
        access_log=not settings.disable_uvicorn_access_log,
        ssl_keyfile=settings.ssl_keyfile,
        ssl_certfile=settings.ssl_certfile,
        ssl_ca_certs=settings.ssl_ca_certs,
        ssl_cert_reqs=settings.ssl_cert_reqs,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        # Not 0: the requests that the engine's end has answered must leave.
        timeout_graceful_shutdown=round(settings.shutdown_timeout + _FLUSH_SECONDS),
    )


def _say_what_was_found(engine: AsyncLLM, settings: ServerSettings) -> None:
    """Says in two lines what requests will meet; sizes were said while loading."""
    config = engine.config
    names = settings.served_model_name or (config.engine.model,)
    logger.info(
        "vllm-local %s serves %s (%s, %s on %s) as %s",
        vllm_local.__version__,
        config.engine.model,
        config.model.architecture,
        config.model.dtype,
        config.device,
        ", ".join(names),
    )
    logger.info(
        "At most %d requests a step, %d tokens a request; prefix caching %s; chat template: %s; keys: %s",
        config.max_num_seqs,
        config.max_model_len,
        "on" if config.engine.enable_prefix_caching else "off",
        _template_source(engine, settings),
        len(settings.api_key) or "none, everybody is let in",
    )


def _template_source(engine: AsyncLLM, settings: ServerSettings) -> str:
    if settings.chat_template or engine.config.engine.chat_template:
        return "yours"
    return "none, a plain transcript" if engine.renderer.is_fallback else "the model's"
