import pytest

from tests.engine.server.rig import MESSAGES

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
REFUSED = {
    "functions": [TOOL["function"]],
    "function_call": {"name": "add"},
    "use_beam_search": True,
    "length_penalty": 0.5,
    "watermarking": True,
    "repetition_detection": {"max_pattern_size": 3},
    "vllm_xargs": {"a": 1},
    "mm_processor_kwargs": {"a": 1},
    "media_io_kwargs": {"a": 1},
    "kv_transfer_params": {"a": 1},
    "logits_processors": ["a"],
    "best_of": 2,
}
HARMLESS = {
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "text"},
    "include_reasoning": True,
    "use_beam_search": False,
    "length_penalty": 1.0,
    "bad_words": [],
    "logprob_token_ids": [],
    "best_of": 1,
    "user": "somebody",
    "session_id": "a",
    "store": True,
    "metadata": {"a": "b"},
    "never_heard_of": 1,
    "spaces_between_special_tokens": False,
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("name", REFUSED)
async def test_a_field_that_would_be_ignored_is_refused_by_name(server, path, name):
    response = await server.post(path, **{"messages": MESSAGES, "prompt": "Hi", name: REFUSED[name]})
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (400, "BadRequestError", name)
    assert name in error["message"]


CHAT_ONLY = {"tools": [TOOL], "tool_choice": "required", "include_reasoning": False, "thinking_token_budget": 5}


@pytest.mark.parametrize("name", CHAT_ONLY)
async def test_a_plain_prompt_comes_without_what_conversations_have(server, name):
    error = (await server.complete(**{name: CHAT_ONLY[name]})).json()["error"]
    assert error["param"] == name
    assert "/v1/chat/completions has it" in error["message"]


async def test_old_names_say_what_has_replaced_them(server):
    error = (await server.chat(functions=[TOOL["function"]])).json()["error"]
    assert "functions is OpenAI's old name: give tools" in error["message"]


@pytest.mark.parametrize("name", HARMLESS)
async def test_what_changes_nothing_is_let_in(server, name):
    for ask in (server.chat, server.complete):
        assert (await ask(**{name: HARMLESS[name]})).status_code == 200
        assert (await ask(**{name: None})).status_code == 200


async def test_fields_of_completions(server):
    assert (await server.complete(suffix="")).status_code == 200
    assert (await server.complete(suffix="end")).json()["error"]["param"] == "suffix"
    assert (await server.complete(prompt_embeds="x")).json()["error"]["param"] == "prompt_embeds"


async def test_special_tokens_without_spaces_between(server):
    response = await server.chat(spaces_between_special_tokens=False, skip_special_tokens=False)
    assert response.json()["error"]["param"] == "spaces_between_special_tokens"


@pytest.mark.parametrize(("field", "instead"), [("functions", "give tools"), ("function_call", "give tool_choice")])
async def test_old_names_say_the_new_ones(server, field, instead):
    response = await server.chat(**{field: REFUSED[field]})
    assert response.status_code == 400
    assert instead in response.json()["error"]["message"]
