import asyncio
import json

import httpx
import pytest

from tests.engine.cli.running import FakeServer
from vllm_local.cli.bench.client import Target, send
from vllm_local.cli.bench.sample import SampleRequest

SAMPLE = SampleRequest("Hi there", 2, 5)


def run(handler, target, request_id=""):
    async def go():
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler), base_url="http://server") as client:
            return await send(client, target, SAMPLE, request_id)

    return asyncio.run(go())


def slow_stream(events, seconds):
    """A response whose chunks come one after the other."""

    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self):
            for event in events:
                await asyncio.sleep(seconds)
                yield f"data: {json.dumps(event) if isinstance(event, dict) else event}\n\n".encode()

    return httpx.Response(200, stream=Stream())


@pytest.mark.parametrize(
    ("backend", "endpoint", "asked"),
    [
        ("openai", "/v1/completions", {"prompt": "Hi there", "max_tokens": 5}),
        ("vllm", "/v1/completions", {"prompt": "Hi there", "max_tokens": 5}),
        (
            "openai-chat",
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "Hi there"}], "max_completion_tokens": 5},
        ),
    ],
)
def test_requests_and_answers(backend, endpoint, asked):
    server = FakeServer()
    outcome = run(server, Target(backend, endpoint, "m", {"temperature": 0}), "bench-1")
    assert (outcome.success, outcome.text, outcome.output_tokens) == (True, "Hello world", 2)
    assert (outcome.prompt_len, len(outcome.itl), outcome.error) == (2, 1, "")
    _, path, body, headers = server.requests[0]
    assert (path, headers["x-request-id"]) == (endpoint, "bench-1")
    streaming = {"stream": True, "stream_options": {"include_usage": True}}
    assert body == {"model": "m", "temperature": 0, **streaming, **asked}


def test_times_are_those_of_the_chunks():
    role = {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
    words = [{"choices": [{"delta": {"content": word}}]} for word in "abc"]
    usage = {"choices": [], "usage": {"completion_tokens": 3}}
    events = [role, *words, usage, "[DONE]"]
    outcome = run(lambda _request: slow_stream(events, 0.02), Target("openai-chat", "/v1/chat/completions", "m"))
    assert outcome.success
    assert 0.04 <= outcome.ttft < 0.08  # the role's chunk is no token
    assert [0.02 <= gap < 0.06 for gap in outcome.itl] == [True, True]
    assert outcome.latency == pytest.approx(outcome.ttft + sum(outcome.itl))


def test_without_usage_chunks_are_counted():
    events = [{"choices": [{"text": "a"}]}, {"choices": [{"text": ""}]}, "[DONE]"]
    outcome = run(lambda _request: slow_stream(events, 0), Target("openai", "/v1/completions", "m"))
    assert (outcome.success, outcome.output_tokens) == (True, 2)


@pytest.mark.parametrize(
    ("server", "error"),
    [
        (FakeServer(status=503), "503: no such luck"),
        (FakeServer(error="out of memory"), "out of memory"),
        (FakeServer(words=()), "stream was empty"),
        (lambda _request: httpx.Response(200, text="data: {\n\n"), "Expecting property name"),
    ],
)
def test_failures_are_in_the_outcome(server, error):
    outcome = run(server, Target("openai", "/v1/completions", "m"))
    assert not outcome.success
    assert error in outcome.error


def test_a_broken_connection_is_in_the_outcome():
    def fail(request):
        raise httpx.ReadError("gone", request=request)

    outcome = run(fail, Target("openai", "/v1/completions", "m"))
    assert (outcome.success, outcome.error) == (False, "gone")
