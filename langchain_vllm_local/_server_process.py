"""A server in a process of its own: start it, wait until it answers, and make sure that it never outlives this one."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
from rich.console import Console

from langchain_vllm_local import _server_guard
from langchain_vllm_local._errors import LocalServerDeadError, LocalServerStartError
from langchain_vllm_local._server_command import HOST, KEY_VARIABLE, ServerCommand
from vllm_local.errors import EXIT_STATUSES, EngineClosedError, VLLMLocalError

logger = logging.getLogger(__name__)

_LISTENING = re.compile(r"Listening on (http://127\.0\.0\.1:\d+)")
_POLL_SECONDS = 0.05
_TAIL_LINES = 30
_TAIL_BYTES = 65_536
_LAST_WORDS = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt)(?::|$)")
"""How a traceback ends."""
_VLLM_PREFIX = re.compile(r"^\([^()]* pid=\d+\) (?:[A-Z]+ [\d-]+ [\d:]+ \[[^\]]*\] ?)?")
_NOTICE_SECONDS = 1.0
"""A server that has died breaks its connections a moment before its guard has noticed."""
_FAREWELL_SECONDS = 20.0
"""One whose engine has died takes a while to end, and is not healthy meanwhile."""


class Lifelines:
    """The pipes of this process that servers live on, and their guards."""

    def __init__(self) -> None:
        """Starts with none. No lock: a fork could find it held by a thread that the child does not have."""
        self._guards: dict[int, subprocess.Popen[bytes] | None] = {}

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[int, int]]:
        """Opens a pipe: the guard's end, closed here after the block, and this process's."""
        read_end, write_end = os.pipe()
        self._guards[write_end] = None
        try:
            yield read_end, write_end
        except BaseException:
            self.cut(write_end)
            raise
        finally:
            os.close(read_end)

    def attach(self, write_end: int, guard: subprocess.Popen[bytes]) -> None:
        """Notes who lives on a pipe."""
        self._guards[write_end] = guard

    def cut(self, write_end: int) -> None:
        """Ends the server that lives on this pipe, and waits for it; harmless if it has ended."""
        try:
            guard = self._guards.pop(write_end)  # one step: somebody else may be cutting it too
        except KeyError:
            return
        os.close(write_end)
        if guard is None:
            return
        try:
            guard.wait(_server_guard.GRACE_SECONDS + _server_guard.TIDY_SECONDS + 3)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()

    def cut_all(self) -> None:
        """Ends them all, at the end of this process; were it to be killed first, the pipes would still break."""
        for write_end in list(self._guards):
            self.cut(write_end)

    def forget(self) -> None:
        """Lets go of the pipes in a forked child, whose life and end are no concern of its parent's servers."""
        for write_end in list(self._guards):
            with contextlib.suppress(OSError):
                os.close(write_end)
        self._guards.clear()


LIFELINES = Lifelines()
atexit.register(LIFELINES.cut_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=LIFELINES.forget)


class ServerProcess:
    """A server that this process has started.

    Attributes:
        command: How it was started.
        api_key: Its key, which nobody else knows.
        log_path: What it says goes there; the file stays only if the server ends by itself.
        root_url: Its address, without `/v1`; empty until it listens.
    """

    def __init__(self, command: ServerCommand) -> None:
        """Starts it; `wait_until_ready` is next.

        Raises:
            LocalServerStartError: The program cannot be run at all.
        """
        self.command = command
        self.api_key = secrets.token_urlsafe(32)
        self.root_url = ""
        self.is_closed = False
        self._owner = os.getpid()
        self._port = None if command.announces_port else _KeptPort()
        descriptor, path = tempfile.mkstemp(prefix="vllm-local-server-", suffix=".log")
        self.log_path = Path(path)
        with os.fdopen(descriptor, "wb") as log:
            self._lifeline, self._guard = self._start(log.fileno())
        logger.info("Starting %s for %s; its log is %s", command.program, command.model, path)

    def _start(self, log: int) -> tuple[int, subprocess.Popen[bytes]]:
        port = self._port.number if self._port else 0
        server = [*self.command.argv, "--host", HOST, "--port", str(port)]
        environment = {
            **os.environ,
            **self.command.environment,
            KEY_VARIABLE: self.api_key,
            "PYTHONUNBUFFERED": "1",
        }
        with LIFELINES.opened() as (read_end, write_end):
            guard = subprocess.Popen(  # noqa: S603 - no shell
                [sys.executable, "-I", _server_guard.__file__, str(self.log_path), *server],
                stdin=read_end,
                stdout=log,
                stderr=log,
                env=environment,
                # Ctrl-C in the terminal is meant for us.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
            LIFELINES.attach(write_end, guard)
        return write_end, guard

    @property
    def pid(self) -> int:
        """Process id of the server's guard, which ends with it."""
        return self._guard.pid

    def wait_until_ready(self) -> None:
        """Waits until the server answers; how long that takes is the model's business.

        Raises:
            VLLMLocalError: It has ended instead; with the end of its log.
            EngineClosedError: It was closed meanwhile.
        """
        try:
            with _progress(self), httpx.Client(trust_env=False, timeout=5) as client:
                while not self._is_ready(client):
                    if self.is_closed:
                        raise EngineClosedError(f"The server of {self.command.model} was shut down while it started.")
                    if self._guard.poll() is not None:
                        raise self._start_error()
                    time.sleep(_POLL_SECONDS)
        finally:
            if self._port:
                self._port.release()

    def _start_error(self) -> VLLMLocalError:
        """Returns why it has not started; our own server tells by its exit status, as the engine would by its error."""
        message = self._obituary("ended while it was starting")
        kinds = {status: kind for kind, status in EXIT_STATUSES if status > 1} if self.command.announces_port else {}
        return kinds.get(self._guard.returncode, LocalServerStartError)(message)

    def _is_ready(self, client: httpx.Client) -> bool:
        if not self.root_url:
            self.root_url = f"http://{HOST}:{self._port.number}" if self._port else self._announced_url()
        if not self.root_url:
            return False
        try:
            return client.get(f"{self.root_url}/health").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _announced_url(self) -> str:
        found = _LISTENING.search(self.log_path.read_text(encoding="utf-8", errors="replace"))
        return found[1] if found else ""

    def check_health(self) -> None:
        """Raises an error if the server has ended."""
        if self.is_closed:
            raise EngineClosedError(f"The server of {self.command.model} was shut down.")
        if self._guard.poll() is not None:
            raise LocalServerDeadError(self._obituary("has ended"))

    def death(self) -> LocalServerDeadError | EngineClosedError | None:
        """Returns what has become of the server after a broken connection; None if it is well."""
        begin = time.monotonic()
        with httpx.Client(trust_env=False, timeout=1) as client:
            while (waited := time.monotonic() - begin) < _FAREWELL_SECONDS:
                try:
                    self.check_health()
                except (LocalServerDeadError, EngineClosedError) as error:
                    return error
                if waited > _NOTICE_SECONDS and self._is_ready(client):
                    return None
                time.sleep(_POLL_SECONDS)
        return None

    def stop(self) -> None:
        """Ends the server if it has not ended by itself."""
        LIFELINES.cut(self._lifeline)

    def close(self) -> None:
        """Ends the server, and its log goes with it. In a forked child it does nothing: the server is the parent's."""
        if os.getpid() != self._owner or self.is_closed:
            return
        self.is_closed = True
        self.stop()
        self.log_path.unlink(missing_ok=True)  # that of a server which has died

    def last_line(self) -> str:
        """Returns what the server said last."""
        lines = self._tail().splitlines()
        return lines[-1] if lines else ""

    def _obituary(self, what: str) -> str:
        status = self._guard.returncode
        lines = self._tail().splitlines()
        tail = "\n".join(lines[-_TAIL_LINES:])
        said = f"The end of its log ({self.log_path}):\n{tail}" if tail else f"Its log ({self.log_path}) is empty."
        cause = first_error(lines[:-1])
        cause = f"The first error in its log: {cause}\n" if cause else ""
        return f"{self.command.program} {what} (model {self.command.model}, exit status {status}). {cause}{said}"

    def _tail(self) -> str:
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                return log.read().decode("utf-8", errors="replace").strip()
        except OSError:
            return ""


def first_error(lines: Sequence[str]) -> str:
    """Returns the last line of the first traceback in a log, or nothing.

    Of vLLM's processes the one that failed says so first; those that waited for it follow with long tracebacks, which
    only point at "the root cause above".
    """
    plain = (_VLLM_PREFIX.sub("", line) for line in lines)
    return next((line for line in plain if _LAST_WORDS.match(line)), "")


class _KeptPort:
    """A free port that is kept for a server which can only be told a number.

    It is bound but not listening. With both options Linux lets the server bind it as well, by whichever it uses:
    vLLM takes SO_REUSEADDR alone, with several API servers or in older versions SO_REUSEPORT too. Nobody else is given
    it meanwhile. Other systems would refuse vLLM the port, so there it is let go of at once.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if sys.platform == "linux":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind((HOST, 0))
        self.number: int = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self._socket.close()

    def release(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def _progress(process: ServerProcess) -> Iterator[None]:
    """Shows in a terminal or notebook that a server is starting, and what it says."""
    console = Console(stderr=True)
    if not process.command.shows_progress or not (console.is_terminal or console.is_jupyter):
        yield
        return
    over = threading.Event()
    with console.status(f"Starting {process.command.program} for {process.command.model}") as status:

        def follow() -> None:
            while not over.wait(0.5):
                status.update(f"{process.command.program}: {process.last_line()[-100:]}".replace("[", r"\["))

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            over.set()
            follower.join()
