"""Runs a server for as long as its parent lives: `python -I _server_guard.py LOG COMMAND...`; standard library alone.

Standard input is the read end of a pipe to which nobody writes. It ends when the parent closes its end or dies, in
whatever way, `kill -9` included; then the server is ended with everything that it has started, and its log removed.
The server's own end is the guard's too, with the same exit status; then the log stays, for it says why.

The parent cannot ask the system for this: PR_SET_PDEATHSIG fires when the *thread* ends that started the child.
Here the thread is the guard's main one, so it is used as well, for the case that somebody kills the guard.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

GRACE_SECONDS = 5.0
"""What the server gets between being asked to end and being killed."""
TIDY_SECONDS = 2.0
"""What the processes that it has started get after its end. vLLM's hold shared memory, and one of them frees it."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SOCKETS_VARIABLE = "VLLM_RPC_BASE_PATH"
_LONGEST_SOCKET_FOLDER = 60
"""In bytes: a socket's path has room for about 100, and vLLM's names have 36."""


class Guard:
    """One server and its end."""

    def __init__(self, command: list[str]) -> None:
        """Starts the server in a process group of its own, which Ctrl-C in the parent's terminal does not reach."""
        _adopt_orphans()
        self.server = subprocess.Popen(  # noqa: S603 - our own command line
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_make_dying_with_parent(),  # noqa: PLW1509 - there are no threads yet
        )
        self.is_orphan = False
        self._is_ending = threading.Lock()

    def watch(self) -> None:
        """Ends the server when the parent has gone."""
        while os.read(0, 1024):
            pass
        self.is_orphan = True
        self.end()

    def end_when(self, asked: threading.Event) -> None:
        """Ends the server when a signal asks for it."""
        asked.wait()
        self.end()

    def end(self) -> None:
        """Asks the server to end, and kills it if it does not; what it has started is its own to end."""
        if not self._is_ending.acquire(blocking=False):
            return
        self.server.terminate()
        try:
            self.server.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal_all("SIGKILL")

    def wait(self) -> int:
        """Waits for the server, and then for what it has started, which is killed if it stays; returns its status."""
        status = self.server.wait()
        self._signal_all("SIGTERM")
        deadline = time.monotonic() + TIDY_SECONDS
        while self._has_left_others() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._signal_all("SIGKILL")
        return status

    def _signal_all(self, name: str) -> None:
        """Signals the server's group; on Windows there is none, and what is left ends with this process."""
        if sys.platform == "win32":
            self.server.kill()
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.server.pid, getattr(signal, name))

    def _has_left_others(self) -> bool:
        if sys.platform == "win32":
            return False
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # the dead are of the group until somebody has looked
                pass
        try:
            os.killpg(self.server.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def main(log: str, command: list[str]) -> int:
    """Runs a command under guard and returns its exit status, negative for a signal."""
    job = _die_together() if sys.platform == "win32" else None
    is_asked_to_end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # before there is anything that could be left behind
        signal.signal(number, lambda *_: is_asked_to_end.set())
    with _socket_folder(f"{log}.d"):
        guard = Guard(command)
        threading.Thread(target=guard.watch, daemon=True).start()
        threading.Thread(target=guard.end_when, args=(is_asked_to_end,), daemon=True).start()
        status = guard.wait()
    if guard.is_orphan:
        with contextlib.suppress(OSError):
            os.unlink(log)  # noqa: PTH108 - one import less
    del job
    return status


@contextlib.contextmanager
def _socket_folder(path: str) -> Iterator[None]:
    """Gives vLLM's processes a folder for their sockets, which they leave behind even when they end well."""
    if _SOCKETS_VARIABLE in os.environ or len(os.fsencode(path)) > _LONGEST_SOCKET_FOLDER:
        yield
        return
    os.mkdir(path, 0o700)  # noqa: PTH102 - one import less
    os.environ[_SOCKETS_VARIABLE] = path
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for entry in os.scandir(path):
                os.unlink(entry)  # noqa: PTH108 - the same
            os.rmdir(path)  # noqa: PTH106 - the same


def _adopt_orphans() -> None:
    """Becomes the parent of what the server leaves behind, so that there is somebody who notices its end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _make_dying_with_parent() -> Callable[[], None] | None:
    """Returns what the server runs before it starts, so that it ends with the guard; on Linux only."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def die_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    return die_with_parent


def _die_together() -> object:
    """Puts this process into a Windows job whose members end when its handle goes, that is with this process."""
    from ctypes import wintypes

    class BasicLimits(ctypes.Structure):
        _fields_ = (
            ("PerProcessUserTimeLimit", wintypes.LARGE_INTEGER),
            ("PerJobUserTimeLimit", wintypes.LARGE_INTEGER),
            ("LimitFlags", wintypes.DWORD),
            ("MinimumWorkingSetSize", ctypes.c_size_t),
            ("MaximumWorkingSetSize", ctypes.c_size_t),
            ("ActiveProcessLimit", wintypes.DWORD),
            ("Affinity", ctypes.c_size_t),
            ("PriorityClass", wintypes.DWORD),
            ("SchedulingClass", wintypes.DWORD),
        )

    class ExtendedLimits(ctypes.Structure):
        _fields_ = (
            ("BasicLimitInformation", BasicLimits),
            ("IoInfo", ctypes.c_ulonglong * 6),
            ("ProcessMemoryLimit", ctypes.c_size_t),
            ("JobMemoryLimit", ctypes.c_size_t),
            ("PeakProcessMemoryUsed", ctypes.c_size_t),
            ("PeakJobMemoryUsed", ctypes.c_size_t),
        )

    extended_limit_information, kill_on_job_close = 9, 0x2000
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
    kernel.CreateJobObjectW.restype = wintypes.HANDLE
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    kernel.SetInformationJobObject.argtypes = (wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD)
    kernel.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
    job = kernel.CreateJobObjectW(None, None)
    limits = ExtendedLimits()
    limits.BasicLimitInformation.LimitFlags = kill_on_job_close
    kernel.SetInformationJobObject(job, extended_limit_information, ctypes.byref(limits), ctypes.sizeof(limits))
    kernel.AssignProcessToJobObject(job, kernel.GetCurrentProcess())
    return job


if __name__ == "__main__":
    _status = main(sys.argv[1], sys.argv[2:])
    # Not sys.exit, which would wait for the thread that reads the pipe.
    os._exit(_status if _status >= 0 else 128 - _status)
