"""The end of a server that is under guard: its status, what it has started, and its sockets."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from langchain_vllm_local import _server_guard
from langchain_vllm_local._server_guard import TIDY_SECONDS
from tests.langchain.server_rig import is_running

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the servers here are shell scripts")


@pytest.fixture
def folder():
    """A folder with a short name, as logs have it; pytest's own are longer than a socket's path may be."""
    with tempfile.TemporaryDirectory(prefix="guard-", dir="/tmp") as path:
        yield Path(path)


def start(script, log, **environment):
    """Puts a shell script under guard; closing the guard's standard input ends it."""
    return subprocess.Popen(
        [sys.executable, "-I", _server_guard.__file__, str(log), "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -9 $$", 137), ("exit 0", 0)])
def test_the_servers_status_is_the_guards(script, status, folder):
    with start(script, folder / "log") as guard:
        assert guard.wait(20) == status


def test_what_a_server_has_started_may_tidy_up(folder):
    shared = folder / "shared-memory"
    shared.touch()
    # As Python's resource tracker does: deaf to SIGTERM, it waits for the end of the others, and then frees.
    tracker = f"trap '' TERM; echo up; read line; sleep 0.3; rm {shared}"
    script = f'mkfifo {folder}/pipe; sh -c "{tracker}" < {folder}/pipe & exec 3> {folder}/pipe; sleep 100'
    with start(script, folder / "log") as guard:
        assert guard.stdout.readline() == "up\n"
        begin = time.monotonic()
        guard.stdin.close()
        guard.wait(20)
    assert time.monotonic() - begin < TIDY_SECONDS
    assert not shared.exists()


def test_what_does_not_end_is_killed(folder):
    script = "sh -c \"trap '' TERM; while :; do sleep 0.1; done\" & echo $!"
    with start(script, folder / "log") as guard:
        left = int(guard.stdout.readline())
        assert guard.wait(20) == 0
    assert not is_running(left)


def test_sockets_go_with_the_server(folder):
    script = "echo $VLLM_RPC_BASE_PATH; touch $VLLM_RPC_BASE_PATH/socket; ls $VLLM_RPC_BASE_PATH"
    with start(script, folder / "log") as guard:
        place, made = guard.stdout.read().split()
    assert place == f"{folder}/log.d"
    assert made == "socket"
    assert not Path(place).exists()


def test_sockets_stay_where_somebody_wants_them_or_names_are_too_long(folder):
    with start("echo $VLLM_RPC_BASE_PATH", folder / "log", VLLM_RPC_BASE_PATH="/elsewhere") as guard:
        assert guard.stdout.read() == "/elsewhere\n"
    with start("echo $VLLM_RPC_BASE_PATH", folder / ("log" * 20)) as guard:
        assert guard.stdout.read() == "\n"
