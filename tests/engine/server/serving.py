"""A server in a thread, for tests of what only a real connection shows."""

import threading
import time

import httpx

from tests.engine.engine_fakes import FakeModelRunner, make_engine
from tests.engine.server.rig import MESSAGES
from vllm_local.server.app import create_app
from vllm_local.server.run import Server, address_of, bind
from vllm_local.server.settings import ServerSettings

CHAT = "http://server/v1/chat/completions"
BODY = {"messages": MESSAGES, "max_tokens": 100}


class Running:
    """A server in a thread, over an engine, or over a fake one."""

    def __init__(self, engine=None, **settings):
        self.runner = FakeModelRunner(step_seconds=0.02)
        self.engine = engine or make_engine(self.runner)
        self.settings = ServerSettings(uvicorn_log_level="critical", **settings)
        self.listener = bind(self.settings)
        app = create_app(self.engine, self.settings)
        self.context = app.state.context
        self.server = Server(self.engine, app, self.settings)
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],))
        self.answers = []

    def client(self):
        return httpx.Client(transport=httpx.HTTPTransport(uds=self.settings.uds), timeout=30)

    def ask_in_thread(self, **more):
        """Asks for a long answer, and waits until it has begun: a stream for its client, another in the engine."""
        num_running, is_heard = self.engine.stats().num_running, threading.Event()
        thread = threading.Thread(target=self._ask, args=(BODY | more, is_heard))
        thread.start()
        if more.get("stream"):
            assert is_heard.wait(10), "it did not begin"
        else:
            until(lambda: self.engine.stats().num_running > num_running)
        return thread

    def _ask(self, body, is_heard):
        with self.client() as client, client.stream("POST", CHAT, json=body) as response:
            is_heard.set()
            response.read()
            self.answers.append(response)

    @property
    def address(self):
        return address_of(self.listener, self.settings)

    def start(self):
        self.thread.start()
        until(lambda: self.server.started)

    def stop(self):
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
