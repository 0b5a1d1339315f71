import asyncio
import contextlib
import itertools
import json

import pytest

from tests.engine.server.rig import MESSAGES, LeavingClient, asgi_scope
from vllm_local.server.middleware.body_limit import MAX_MARKS

PATH = "/v1/chat/completions"


async def test_a_body_that_announces_its_size(serve):
    server = await serve({"max_body_bytes": 1000})
    assert (await server.chat()).status_code == 200
    response = await server.chat(user="x" * 1000)
    assert response.status_code == 413
    assert "larger than the 1000 bytes" in response.json()["error"]["message"]


async def test_a_body_that_does_not(serve):
    server = await serve({"max_body_bytes": 1000})

    async def pieces():
        yield b'{"messages": [], "user": "'
        for _ in range(100):
            yield b"x" * 100

    response = await server.client.post(PATH, content=pieces(), headers={"Content-Type": "application/json"})
    assert response.status_code == 413


async def test_a_size_that_is_no_number_is_left_to_the_http_parser(server):
    for size in ("²", "9" * 5000, "-1", "1e9"):
        headers = [(b"content-type", b"application/json"), (b"content-length", size.encode("latin-1"))]
        client = LeavingClient(server.app, PATH, messages=MESSAGES, max_tokens=1)
        client.scope["headers"] = headers
        await client.run()
        assert client.sent[0]["status"] == 200


async def test_a_large_body_within_the_limit(server):
    response = await server.chat(user="x" * 20_000_000)
    assert response.status_code == 200


@pytest.mark.parametrize("unit", [b"1,", b"[],", b'{"a":1},', b'"\\n",'])
async def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(server, unit):
    head = b'{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "more": ['
    for extra, status in ((-100, 200), (100, 413)):
        num_marks = sum(map(unit.count, (b",", b":", b"[", b"{", b"\\")))
        content = head + unit * ((MAX_MARKS + extra) // num_marks) + b"1]}"
        response = await server.client.post(PATH, content=content, headers={"Content-Type": "application/json"})
        assert response.status_code == status
    assert f"more than {MAX_MARKS} commas" in response.json()["error"]["message"]


async def test_its_rest_is_not_even_read(server):
    pieces = itertools.count()

    async def receive():
        next(pieces)
        return {"type": "http.request", "body": b"[," * 2**15, "more_body": True}

    sent = []

    async def send(message):
        sent.append(message)

    with contextlib.suppress(Exception):
        scope = asgi_scope(PATH, b"", headers=[(b"content-type", b"application/json")])
        await asyncio.wait_for(server.app(scope, receive, send), 10)
    assert sent[0]["status"] == 413
    assert next(pieces) == MAX_MARKS / 2**16 + 1


async def test_a_body_that_stops_coming(serve):
    server = await serve({"body_timeout": 0.05})
    sent = []

    async def receive():
        await asyncio.sleep(30)

    async def send(message):
        sent.append(message)

    await asyncio.wait_for(server.app(asgi_scope(PATH, b"{}"), receive, send), 5)
    assert sent[0]["status"] == 408
    assert "within 0.05 seconds" in json.loads(sent[1]["body"])["error"]["message"]


async def test_an_answer_may_take_longer_than_a_body(serve, runner):
    runner.step_seconds = 0.2
    server = await serve({"body_timeout": 0.5})
    response = await server.post(PATH, messages=MESSAGES, max_tokens=4)
    assert response.status_code == 200


@pytest.mark.parametrize(("size", "status"), [(8192, 200), (10, 408)])
async def test_a_body_has_the_time_that_its_size_needs(serve, size, status):
    server = await serve({"body_timeout": 0.4})
    pieces = [b'{"max_tokens":1,"messages":', *([b" " * size] * 8), json.dumps(MESSAGES).encode() + b"}"]
    sent = []

    async def receive():
        await asyncio.sleep(0.1)
        body = pieces.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(pieces)}

    async def send(message):
        sent.append(message)

    scope = asgi_scope(PATH, b"", headers=[(b"content-type", b"application/json")])
    await asyncio.wait_for(server.app(scope, receive, send), 10)
    assert sent[0]["status"] == status
