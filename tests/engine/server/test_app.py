import logging

import pytest

from tests.engine.server.rig import MESSAGES

ORIGIN = {"Origin": "https://page.example"}
PREFLIGHT = {**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


async def test_no_page_may_call_by_default(server):
    response = await server.client.get("/v1/models", headers=ORIGIN)
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_pages_that_may_call(serve):
    server = await serve({"allowed_origins": ("https://page.example",), "api_key": ("key",)})
    response = await server.client.options("/v1/chat/completions", headers=PREFLIGHT)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "https://page.example"
    response = await server.client.get("/v1/models", headers=ORIGIN)
    assert response.status_code == 401
    assert response.headers["Access-Control-Allow-Origin"] == "https://page.example", "or the page could not read why"


async def test_links_are_right_behind_a_proxy(serve):
    server = await serve({"root_path": "/proxy"})
    for path in ("/docs", "/proxy/docs"):
        assert "/proxy/openapi.json" in (await server.client.get(path)).text


async def test_answers_bear_the_request_s_id_where_asked_for(serve):
    server = await serve({"enable_request_id_headers": True})
    response = await server.client.get("/health", headers={"X-Request-Id": "mine"})
    assert response.headers["X-Request-Id"] == "mine"
    response = await server.chat()
    assert response.json()["id"] == "chatcmpl-" + response.headers["X-Request-Id"]


async def test_the_server_s_own_chat_template(serve):
    settings = {"chat_template": "{{ messages[0].content }}{{ mood }}", "default_chat_template_kwargs": {"mood": "!"}}
    server = await serve(settings)
    body = (await server.chat(return_prompt_text=True)).json()
    assert body["prompt_text"] == "Hi!"
    body = (await server.chat(return_prompt_text=True, chat_template_kwargs={"mood": "?"})).json()
    assert body["prompt_text"] == "Hi?"


async def test_a_request_s_chat_template_where_it_is_trusted(serve, tmp_path):
    server = await serve({"trust_request_chat_template": True})
    body = (await server.chat(return_prompt_text=True, chat_template="{{ messages | length }} said")).json()
    assert body["prompt_text"] == "1 said"
    path = tmp_path / "secret"
    path.write_text("secret")
    body = (await server.chat(return_prompt_text=True, chat_template=str(path))).json()
    assert body["prompt_text"] == str(path), "a template is a text, never a file of the server's"
    escape = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    assert (await server.chat(chat_template=escape)).status_code == 400


async def test_a_template_s_own_words(serve):
    template = "{{ documents[0].text }}|{{ reasoning_effort }}|{{ enable_thinking }}"
    server = await serve({"chat_template": template})
    response = await server.chat(documents=[{"text": "facts"}], reasoning_effort="none", return_prompt_text=True)
    assert response.json()["prompt_text"] == "facts|none|False"


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({}, "|True"),
        ({"reasoning_effort": "none"}, "none|False"),
        ({"reasoning_effort": "high"}, "high|True"),
        ({"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}}, "none|True"),
        ({"reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": False}}, "high|False"),
    ],
)
async def test_an_effort_switches_thinking_on_or_off(serve, fields, prompt):
    """What a request says itself comes first, then its effort, then the server's own words."""
    template = "{{ reasoning_effort }}|{{ enable_thinking }}"
    server = await serve({"chat_template": template, "default_chat_template_kwargs": {"enable_thinking": True}})
    assert (await server.chat(return_prompt_text=True, **fields)).json()["prompt_text"] == prompt


async def test_the_role_of_answers(serve):
    server = await serve({"response_role": "bard"})
    assert (await server.chat()).json()["choices"][0]["message"]["role"] == "bard"


async def test_prompts_are_logged_only_where_asked_for(serve, caplog):
    caplog.set_level(logging.INFO)
    messages = [{"role": "user", "content": "my secret"}]
    await (await serve()).chat(messages=messages)
    assert "secret" not in caplog.text
    await (await serve({"enable_log_requests": True})).chat(messages=messages, request_id="mine")
    assert "my secret" in caplog.text
    assert "chatcmpl-mine" in caplog.text
    caplog.clear()
    await (await serve({"enable_log_requests": True, "max_log_len": 5})).chat(messages=MESSAGES)
    assert "Received request" in caplog.text
    assert "user" not in caplog.text.partition("SamplingParams")[0]
