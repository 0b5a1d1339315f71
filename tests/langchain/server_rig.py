"""What tests of started servers need: the fake `vllm` on the PATH, and whether processes and ports are gone."""

import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

FAKE = Path(__file__).with_name("fake_vllm.py")


def install_fake_vllm(folder):
    """Puts a program `vllm` into a folder."""
    program = folder / "vllm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "{FAKE}" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def is_running(pid):
    """Whether a process is there and more than a zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def is_listening(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.02)
