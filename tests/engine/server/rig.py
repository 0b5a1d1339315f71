"""A server in this process, and short ways to ask it."""

import asyncio
import json

import anthropic
import httpx2
import openai

MESSAGES = [{"role": "user", "content": "Hi"}]


class Server:
    """An app, its engine and a client."""

    def __init__(self, client, engine, app):
        self.client, self.engine, self.app = client, engine, app
        self.context = app.state.context

    async def post(self, path, **body):
        return await self.client.post(path, json=body)

    async def chat(self, **body):
        return await self.post("/v1/chat/completions", **{"messages": MESSAGES, "max_tokens": 8, **body})

    async def complete(self, **body):
        return await self.post("/v1/completions", **{"prompt": "Hi", "max_tokens": 8, **body})

    async def events(self, path, **body):
        """Posts, and returns the events of the stream: parsed, the last one as text."""
        response = await self.post(path, **{**body, "stream": True})
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        return parse_events(response.text)

    async def chat_events(self, **body):
        return await self.events("/v1/chat/completions", **{"messages": MESSAGES, "max_tokens": 8, **body})

    async def complete_events(self, **body):
        return await self.events("/v1/completions", **{"prompt": "Hi", "max_tokens": 8, **body})

    def openai(self):
        """Returns OpenAI's own client."""
        transport = httpx2.ASGITransport(self.app, raise_app_exceptions=False)
        client = httpx2.AsyncClient(transport=transport)
        return openai.AsyncOpenAI(base_url="http://server/v1", api_key="EMPTY", http_client=client, max_retries=0)

    def anthropic(self):
        """Returns Anthropic's own client."""
        transport = httpx2.ASGITransport(self.app, raise_app_exceptions=False)
        client = httpx2.AsyncClient(transport=transport)
        return anthropic.AsyncAnthropic(base_url="http://server", api_key="EMPTY", http_client=client, max_retries=0)

    async def metrics(self):
        """Returns the samples by name and labels."""
        text = (await self.client.get("/metrics")).text
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    async def check_idle(self):
        """Makes sure that no request holds anything any more."""
        if not self.engine.is_closed:
            await until(lambda: self.engine.stats().num_running == self.engine.stats().num_waiting == 0)
            self.engine.check_integrity()
            assert self.engine.stats().kv_cache_usage == 0
        admission = self.context.admission
        assert (admission.num_choices, admission.num_waiting_tokens) == (0, 0)


async def until(condition, seconds=10.0):
    """Waits for something to come true."""
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen")


def parse_events(text):
    """Returns the events of a stream; [DONE] stays a text."""
    assert text.endswith("\n\n")
    events = []
    for block in text[:-2].split("\n\n"):
        lines = [line for line in block.split("\n") if not line.startswith((":", "event: "))]
        if lines:
            (line,) = lines
            assert line.startswith("data: ")
            events.append(line[6:] if line == "data: [DONE]" else json.loads(line[6:]))
    return events


def asgi_scope(path, body, **more):
    """Returns what a server would hand an app for a POST of JSON."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        **more,
    }


class LeavingClient:
    """A client at ASGI's level, which reads `num_pieces` of an answer and goes away, or goes when told."""

    def __init__(self, app, path, num_pieces=None, **body):
        self._app = app
        self._body = json.dumps(body).encode()
        self.scope = asgi_scope(path, self._body)
        self._num_pieces = num_pieces
        self._is_read = False
        self.gone = asyncio.Event()
        self.sent = []

    async def run(self):
        await self._app(self.scope, self._receive, self._send)

    async def _receive(self):
        if not self._is_read:
            self._is_read = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        self.sent.append(message)
        if self._num_pieces is not None and len(self.sent) > self._num_pieces:
            self.gone.set()
