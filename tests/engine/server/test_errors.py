import json
import re

import pytest

from tests.engine.server.rig import MESSAGES, LeavingClient, asgi_scope
from vllm_local.errors import ChatTemplateError, EngineClosedError, EngineDeadError, EngineError, InvalidRequestError
from vllm_local.server.errors import ModelNotServedError, QueueFullError, body_of, message_of, status_of

PATH = "/v1/chat/completions"
CONTEXT = (
    "This model's maximum context length is 128 tokens. However, your prompt contains 200 input tokens, "
    "which leaves no room for an answer."
)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ModelNotServedError("x"), 404, "NotFoundError"),
        (InvalidRequestError("x"), 400, "BadRequestError"),
        (ChatTemplateError("x"), 400, "BadRequestError"),
        (QueueFullError("x"), 503, "ServiceUnavailableError"),
        (EngineClosedError("x"), 503, "ServiceUnavailableError"),
        (EngineDeadError("x"), 500, "InternalServerError"),
        (EngineError("x"), 500, "InternalServerError"),
        (KeyError("x"), 500, "InternalServerError"),
    ],
)
def test_the_table(error, status, kind):
    assert (status_of(error).status, status_of(error).kind) == (status, kind)
    assert body_of(error)["error"]["code"] == status


def test_what_is_not_meant_for_clients_is_not_told(caplog):
    assert message_of(KeyError("/etc/secret")) == "Internal server error"
    assert "/etc/secret" in caplog.text
    assert message_of(EngineError("<Thing at 0x7f00> failed")) == "<Thing> failed"
    assert message_of(EngineError("No such file: '/home/me/model/a.bin'.")) == "No such file: '…'."
    assert message_of(EngineError(r"File C:\Users\me\a.py, line 5")) == "File …, line 5"
    assert message_of(EngineError("2 of 3/4 and/or 1/2/3 failed")) == "2 of 3/4 and/or 1/2/3 failed"
    assert message_of(InvalidRequestError("stop: '/a/b/c'")) == "stop: '/a/b/c'", "these are the client's own words"


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"temperature": -1}, "temperature", "temperature must be non-negative, got -1.0"),
        ({"temperature": 3}, "temperature", "temperature must be in [0, 2], got 3.0"),
        ({"top_p": 0}, "top_p", "top_p must be in (0, 1], got 0.0"),
        ({"max_tokens": 0}, "max_tokens", "max_tokens must be at least 1, got 0"),
        ({"max_tokens": 1000}, "max_tokens", "max_tokens=1000 cannot be greater than max_model_len=128"),
        ({"n": 2, "temperature": 0}, "n", "n must be 1 when using greedy sampling"),
        ({"stop": [""]}, "stop", "stop must not hold an empty string"),
        ({"logit_bias": {"999999": 1}}, "logit_bias", "vocabulary ends at"),
        ({"min_tokens": 9}, "min_tokens", "min_tokens must not exceed max_tokens=8"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "can only be defined when `stream=True`"),
        ({"messages": []}, "messages", "Cannot apply chat template to an empty conversation"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages", "messages[0] has the unknown role 'king'"),
        ({"cache_salt": "a/b"}, "cache_salt", "Parameter 'cache_salt' must be"),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "must be at least 1"),
        ({"chat_template": "{{ 1 }}"}, "chat_template", "--trust-request-chat-template is not set"),
        ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs", "'tools' is no chat template keyword"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", "not a multimodal model"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "prompt", "cannot be encoded"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_requests_that_make_no_sense(server, body, param, message, stream):
    content = json.dumps({"messages": MESSAGES, "max_tokens": 8, "stream": stream, **body})
    response = await server.client.post(PATH, content=content, headers={"Content-Type": "application/json"})
    if not stream or param != "stream_options":
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["type"]) == (400, 400, "BadRequestError")
        assert error["param"] == param
        assert message in error["message"]


async def test_a_prompt_beyond_the_context_is_told_in_vllm_s_words(server):
    for body in ({"prompt": [1] * 200}, {"prompt": [1] * 200, "stream": True}, {"prompt": [[1], [1] * 200]}):
        response = await server.complete(**body)
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, "input_tokens")
        assert error["message"].startswith(CONTEXT)


@pytest.mark.parametrize(
    ("content", "location", "message"),
    [
        (b'{"messages": [', "body.14", "json_invalid"),
        (b'"text"', "body", "dictionary or object"),
        (b"{}", "body.messages", "Field required"),
        (b'{"messages": [], "temperature": "hot"}', "body.temperature", "float_parsing"),
        (b'{"messages": "Hi"}', "body.messages", "list_type"),
        (b'{"messages": [], "seed": 1.5}', "body.seed", "int_from_float"),
        (b'{"messages": [], "stop": [1]}', "body.stop.str", "string_type"),
        (b"", "body", "Field required"),
    ],
)
async def test_bodies_of_another_shape(server, content, location, message):
    response = await server.client.post(PATH, content=content, headers={"Content-Type": "application/json"})
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (400, "Bad Request", location)
    assert message in error["message"]
    assert "validation error" in error["message"]


@pytest.mark.parametrize(
    "content",
    [b'{"messages": "\xff\xfe"}', b"[" * 100_000, b'{"messages": [], "seed": ' + b"9" * 5000 + b"}", b"\x00", b"NaN"],
)
async def test_bodies_that_are_no_json(server, content):
    response = await server.client.post(PATH, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == 400


async def test_a_long_body_is_not_echoed(server):
    response = await server.chat(temperature="hot" * 10_000)
    assert len(response.text) < 1000


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"messages": "Hi"}, "'input': 'Hi'"),
        ({"messages": {"secret": 1}}, "'input': '<dict of 1 items>'"),
        ({"messages": MESSAGES, "seed": ["secret", 2]}, "'input': '<list of 2 items>'"),
        ({"content": "secret"}, "'input': '<dict of 1 items>'"),
        ({"messages": MESSAGES, "seed": 1.5}, "'input': '1.5'"),
    ],
)
async def test_values_are_shown_as_vllm_shows_them(server, body, shown):
    message = (await server.client.post(PATH, json=body)).json()["error"]["message"]
    assert shown in message
    assert "secret" not in message


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [5] * 200_000},
        {"messages": MESSAGES, "stop": [5] * 200_000},
        {"messages": MESSAGES, "logit_bias": dict.fromkeys(map(str, range(200_000)), "x")},
        {"messages": MESSAGES, "stop_token_ids": [*range(200_000), -1]},
        {"messages": MESSAGES, "model": "m" * 200_000},
        {"no_messages": {str(index): [[[[index]]]] for index in range(2000)}},
    ],
)
async def test_a_long_body_that_is_wrong_is_given_up_at_its_first_mistakes(server, body):
    response = await server.client.post(PATH, json=body)
    assert response.status_code in {400, 404}
    assert len(response.content) < 3000
    assert not re.match(r"\d\d+ validation errors", response.json()["error"]["message"]), "each of them takes memory"


async def test_many_mistakes_are_not_all_listed(server):
    names = ("temperature", "top_p", "top_k", "min_p", "n", "seed", "min_tokens", "priority", "stream", "echo", "model")
    response = await server.chat(**{name: [5] for name in names})
    assert response.json()["error"]["message"].startswith("11 validation errors:\n")
    assert response.json()["error"]["message"].count("\n") == 10


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_another_content_type(server, content_type):
    response = await server.client.post(PATH, content=b'{"messages": []}', headers={"Content-Type": content_type})
    assert response.status_code == 400
    assert "Only 'application/json' is allowed" in response.json()["error"]["message"]


async def test_unknown_routes_and_methods_are_answered_as_vllm_does(server):
    response = await server.client.get("/v1/nothing")
    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})
    response = await server.client.get(PATH)
    assert (response.status_code, response.json()) == (405, {"detail": "Method Not Allowed"})


async def test_a_request_that_the_engine_gives_up(serve, runner):
    server = await serve()
    runner.errors = {"request-1#1.0": "no memory"}
    response = await server.chat()
    assert response.status_code == 500
    assert "no memory" in response.json()["error"]["message"]
    samples = await server.metrics()
    name = 'vllm:request_success_total{engine="0",finished_reason="error",model_name="vllm-local-starter"}'
    assert samples[name] == 1


async def test_an_engine_that_was_closed(server):
    server.engine.close()
    response = await server.chat()
    assert response.status_code == 503
    assert (await server.client.get("/health")).status_code == 503


async def test_what_nobody_expected_is_a_500_without_details(server, monkeypatch):
    monkeypatch.setattr(server.context.models, "describe", lambda name: 1 / 0)
    response = await server.client.get("/v1/models")
    assert response.status_code == 500
    assert response.json()["error"] == {
        "message": "Internal server error",
        "type": "InternalServerError",
        "param": None,
        "code": 500,
    }


async def test_a_client_that_leaves_while_it_sends(server):
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await server.app(asgi_scope(PATH, b"{}"), receive, send)
    assert sent[0]["status"] in {400, 499}


async def test_a_client_that_stays_is_answered(server):
    client = LeavingClient(server.app, PATH, messages=MESSAGES, max_tokens=2)
    await client.run()
    assert client.sent[0]["status"] == 200
