import functools

import httpx
import pytest

from tests.engine.cli.running import FakeServer
from vllm_local.cli.answers import Piece
from vllm_local.cli.http_source import HTTPSource
from vllm_local.errors import VLLMLocalError


@pytest.fixture
def connect(monkeypatch):
    """Connects to a fake server."""

    def connect(server, model_name=None, **sampling):
        client = functools.partial(httpx.Client, transport=server.transport())
        monkeypatch.setattr("vllm_local.cli.http_source.httpx.Client", client)
        return HTTPSource.connect("http://localhost:8000/v1", "key", model_name, sampling)

    return connect


def test_a_conversation(connect):
    server = FakeServer()
    source = connect(server, max_tokens=7, temperature=None)
    assert source.model_name == "served"
    messages = [{"role": "user", "content": "Hi"}]
    assert [piece for piece in source.chat(messages) if piece.text] == [Piece("Hello"), Piece(" world")]
    method, path, body, headers = server.requests[-1]
    assert (method, path) == ("POST", "/v1/chat/completions")
    assert headers["authorization"] == "Bearer key"
    assert body == {
        "model": "served",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 7,
        "messages": messages,
    }


def test_a_completion_counts_tokens(connect):
    server = FakeServer()
    pieces = list(connect(server, "mine").complete("Once"))
    assert [piece.text for piece in pieces] == ["Hello", " world", ""]
    assert pieces[-1].num_tokens == 2
    _, path, body, _ = server.requests[0]
    assert (path, body["prompt"], body["model"]) == ("/v1/completions", "Once", "mine")


def test_errors_say_what_the_server_said(connect):
    with pytest.raises(VLLMLocalError, match="401: no such luck"):
        connect(FakeServer(status=401))
    with pytest.raises(VLLMLocalError, match="400: no such luck"):
        list(connect(FakeServer(status=400), "m").complete("x"))


def test_an_error_in_mid_stream_is_an_error(connect):
    stream = connect(FakeServer(error="out of memory"), "m").complete("x")
    assert next(stream).text == "Hello"
    with pytest.raises(VLLMLocalError, match="out of memory"):
        list(stream)


def test_an_absent_server_is_an_error(monkeypatch):
    def fail(request):
        raise httpx.ConnectError("refused", request=request)

    client = functools.partial(httpx.Client, transport=httpx.MockTransport(fail))
    monkeypatch.setattr("vllm_local.cli.http_source.httpx.Client", client)
    with pytest.raises(VLLMLocalError, match="`vllm-local serve` starts one"):
        HTTPSource.connect("http://localhost:8000/v1", None, None, {})


def test_a_server_that_speaks_another_language_is_an_error(connect):
    class Other(FakeServer):
        def _events(self, *, is_chat):
            yield "data: hello\n\n"

    with pytest.raises(VLLMLocalError, match=r"'hello'\. Is --url right"):
        list(connect(Other(), "m").complete("x"))


def test_a_server_without_models_is_an_error(connect):
    class Empty(FakeServer):
        def __call__(self, request):
            return httpx.Response(200, json={"data": []})

    with pytest.raises(VLLMLocalError, match="lists no model"):
        connect(Empty())
