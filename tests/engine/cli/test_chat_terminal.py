"""`chat` in a terminal of its own: what a person sees and presses."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import time

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")

PROGRAM = """
    import sys
    from tests.engine.engine_fakes import FakeModelRunner, make_loaded
    from vllm_local import async_llm
    from vllm_local.cli import main

    load = async_llm.AsyncLLM.from_loaded
    async_llm.AsyncLLM = lambda config: load(make_loaded(FakeModelRunner(step_seconds=0.02)))
    sys.argv = ["vllm-local", "chat", "--max-tokens", "100"]
    main()
"""


class Terminal:
    """A pseudo-terminal and the program in it."""

    def __init__(self):
        import pty

        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(PROGRAM)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", "COLUMNS": "80"},
        )
        os.close(slave)
        self.text = ""

    def type(self, line):
        os.write(self.master, line.encode())

    def wait_for(self, pattern, seconds=60):
        """Reads until the pattern was shown, and forgets what came before its end."""
        deadline = time.monotonic() + seconds
        while (match := re.search(pattern, self.text)) is None:
            ready, _, _ = select.select([self.master], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{pattern!r} is not in {self.text!r}"
            try:
                self.text += os.read(self.master, 65536).decode(errors="replace")
            except OSError:  # the program has ended
                raise AssertionError(f"{pattern!r} is not in {self.text!r}") from None
        self.text = self.text[match.end() :]

    def interrupt_until(self, pattern):
        """Presses Ctrl-C; again if need be, for a signal between the prompt and the reading waits for the next key."""
        for tries_left in reversed(range(10)):
            os.kill(self.process.pid, signal.SIGINT)
            try:
                self.wait_for(pattern, seconds=1 if tries_left else 30)
            except AssertionError:
                if not tries_left:
                    raise
            else:
                return

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_ctrl_c_stops_the_answer_and_not_the_program(terminal):
    terminal.wait_for(r"> $")
    terminal.type("Hi\n")
    terminal.wait_for("quick")
    os.kill(terminal.process.pid, signal.SIGINT)
    terminal.wait_for(r"\(stopped\)")
    terminal.wait_for(r"> $")
    terminal.type("not sent")
    terminal.wait_for("not sent")
    terminal.interrupt_until("/exit ends the program")
    terminal.type("/history\n")
    terminal.wait_for("user: Hi\r\nassistant: ")
    terminal.type("/exit\n")
    assert terminal.process.wait(30) == 0


def test_ctrl_d_ends_the_program(terminal):
    terminal.wait_for(r"> $")
    terminal.type("\x04")
    assert terminal.process.wait(30) == 0
