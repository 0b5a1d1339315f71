"""Tool calls, thoughts and forms over all three chat routes, by models that write what they are told, or anything."""

import asyncio
import json
import re
from typing import Any

import jsonschema
import openai
import pytest
from pydantic import BaseModel

from tests.engine.server.rig import MESSAGES
from tests.engine.server.writers import Babbler, Writer

NAME = "vllm-local-starter"
RESPONSES = "/v1/responses"
SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Rome", "Bari"]}, "days": {"type": "integer"}}}
SCHEMA |= {"required": ["city"]}
NOW_SCHEMA = {"type": "object", "properties": {}}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": "Forecast.", "parameters": SCHEMA},
}
NOW = {"type": "function", "function": {"name": "now"}}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
NO_ARGUMENTS = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
THOUGHTS = "<think>\nIt rains.\n</think>\n\n"
FORMAT: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True}}
THINKING_TEMPLATE = "{{ messages[0].content }}<think>\n"
SILENT = {"enable_thinking": False}
PLAIN = {"chat_template_kwargs": SILENT}
LONG = {"max_model_len": 1024, "num_blocks": 1024}


@pytest.fixture
def serve_writer(serve):
    async def start(*texts, **settings):
        return await serve(settings, Writer(*texts), **LONG)

    return start


async def joined(server, **body):
    """Asks for a stream, and returns its choices as messages, with their finish reasons."""
    messages: dict[int, dict[str, Any]] = {}
    reasons: dict[int, str | None] = {}
    for chunk in (await server.chat_events(**body))[:-1]:
        assert "error" not in chunk, chunk
        for choice in chunk["choices"]:
            message = messages.setdefault(choice["index"], {"content": "", "reasoning": "", "tool_calls": []})
            _add(message, choice["delta"])
            reasons[choice["index"]] = choice["finish_reason"] or reasons.get(choice["index"])
    return [(messages[index], reasons[index]) for index in sorted(messages)]


def _add(message, delta):
    message["content"] += delta.get("content") or ""
    message["reasoning"] += delta.get("reasoning") or ""
    assert delta.get("reasoning") == delta.get("reasoning_content")
    for call in delta.get("tool_calls", ()):
        if "id" in call:
            assert call["index"] == len(message["tool_calls"])
            message["tool_calls"].append({"name": call["function"]["name"], "arguments": ""})
        message["tool_calls"][call["index"]]["arguments"] += call["function"]["arguments"]


async def whole(server, **body):
    """The same, not streamed."""
    response = await server.chat(**body)
    assert response.status_code == 200, response.text
    choices = response.json()["choices"]
    return [(_message(choice["message"]), choice["finish_reason"]) for choice in choices]


def _message(message):
    calls = [call["function"] for call in message.get("tool_calls", ())]
    assert message.get("tool_calls") != []
    return {"content": message["content"] or "", "reasoning": message["reasoning"] or "", "tool_calls": calls}


@pytest.mark.parametrize("interval", [1, 7])
@pytest.mark.parametrize(
    ("text", "message", "reason"),
    [
        (f"Let me see.{CALL}", ("Let me see.", "", [("weather", '{"city": "Rome"}')]), "tool_calls"),
        (NO_ARGUMENTS, ("", "", [("now", "{}")]), "tool_calls"),
        (f"{CALL}\n{NO_ARGUMENTS}", ("", "", [("weather", '{"city": "Rome"}'), ("now", "{}")]), "tool_calls"),
        (f"{THOUGHTS}{NO_ARGUMENTS}", ("", "It rains.", [("now", "{}")]), "tool_calls"),
        (f"{THOUGHTS}Take a coat.", ("Take a coat.", "It rains.", []), "stop"),
        ("Take a <b>coat</b> < tool.", ("Take a <b>coat</b> < tool.", "", []), "stop"),
    ],
)
async def test_the_stream_says_what_the_whole_answer_says(serve_writer, text, message, reason, interval):
    server = await serve_writer(text)
    body = {"tools": [WEATHER, NOW], "max_tokens": 200, "stream_interval": interval}
    content, reasoning, calls = message
    calls = [{"name": name, "arguments": arguments} for name, arguments in calls]
    expected = [({"content": content, "reasoning": reasoning, "tool_calls": calls}, reason)]
    assert await joined(server, **body) == expected
    assert await whole(server, **body) == expected


async def test_every_choice_is_read_by_itself(serve_writer):
    server = await serve_writer(CALL, "Take a coat.", f"{THOUGHTS}Rain.")
    body = {"tools": [WEATHER], "max_tokens": 200, "n": 3, "temperature": 1.0}
    answers = await joined(server, **body)
    assert answers == await whole(server, **body)
    assert [reason for _, reason in answers] == ["tool_calls", "stop", "stop"]


async def test_a_call_that_is_cut_off_is_told_alike(serve_writer):
    text = f"Let me see.{CALL}"
    server = await serve_writer(text)
    found = {}
    for max_tokens in (*range(1, 60, 4), 200):
        body = {"tools": [WEATHER], "max_tokens": max_tokens}
        ((message, reason),) = await joined(server, **body)
        assert [(message, reason)] == await whole(server, **body)
        found[max_tokens] = (message["content"], len(message["tool_calls"]), reason)
    assert found.pop(200) == ("Let me see.", 1, "tool_calls")
    # Where there is no room for a call, none is opened, and what came before it is told.
    assert {(calls, reason) for _, calls, reason in found.values()} == {(0, "length")}
    assert all(text.startswith(content) for content, _, _ in found.values())
    assert found[57][0].startswith("Let me see.")


async def test_the_wire_is_openai_s(serve_writer):
    server = await serve_writer(f"Hm.{CALL}")
    body = {"tools": [WEATHER], "max_tokens": 200}
    message = (await server.chat(**body)).json()["choices"][0]["message"]
    assert message["content"] == "Hm."
    (call,) = message["tool_calls"]
    assert (call["type"], call["id"][:14]) == ("function", "chatcmpl-tool-")
    deltas = [chunk["choices"][0]["delta"] for chunk in (await server.chat_events(**body))[:-1]]
    first, *rest = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert first["function"] == {"name": "weather", "arguments": ""}
    assert (first["index"], first["type"]) == (0, "function")
    assert all(set(call) == {"index", "function"} and set(call["function"]) == {"arguments"} for call in rest)


async def test_a_message_that_only_calls_has_no_content(serve_writer):
    server = await serve_writer(CALL)
    message = (await server.chat(tools=[WEATHER], max_tokens=200)).json()["choices"][0]["message"]
    assert message["content"] is None


@pytest.mark.parametrize("tools", [{}, {"tools": [WEATHER], "tool_choice": "none"}])
async def test_what_was_not_offered_is_text(serve_writer, tools):
    server = await serve_writer(CALL)
    ((message, reason),) = await joined(server, max_tokens=200, **tools)
    assert (message["content"], message["tool_calls"], reason) == (CALL, [], "stop")


async def test_thoughts_may_be_left_out_and_are_counted(serve_writer):
    server = await serve_writer(f"{THOUGHTS}Rain.")
    for include in (True, False):
        body = (await server.chat(include_reasoning=include, max_tokens=200)).json()
        message = body["choices"][0]["message"]
        assert message["content"] == "Rain."
        assert (message["reasoning"], message.get("reasoning_content")) == (
            ("It rains.",) * 2 if include else (None,) * 2
        )
        assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] > 1
        events = await server.chat_events(
            include_reasoning=include, max_tokens=200, stream_options={"include_usage": True}
        )
        assert events[-2]["usage"] == body["usage"]


async def test_a_limit_on_thoughts(serve):
    server = await serve({"chat_template": THINKING_TEMPLATE}, Babbler(), **LONG)
    for limit in (0, 5):
        for form in ({}, {"structured_outputs": {"choice": ["Rome", "Bari"]}}):
            body = (await server.chat(thinking_token_budget=limit, max_tokens=100, **form)).json()
            message = body["choices"][0]["message"]
            assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] <= 2 * limit
            assert message["content"]
            assert not form or message["content"] in {"Rome", "Bari"}


async def test_a_limit_where_nothing_is_thought_is_an_error(serve_writer):
    server = await serve_writer("Hi", chat_template="{{ messages[0].content }}")
    error = (await server.chat(thinking_token_budget=5)).json()["error"]
    assert error["param"] == "thinking_token_budget"
    assert "does not think" in error["message"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "now"}}])
async def test_a_forced_call_obeys_its_schema_whatever_the_model(serve, choice, seed):
    server = await serve({}, Babbler(seed), **LONG)
    body = {"tools": [WEATHER, NOW], "tool_choice": choice, "parallel_tool_calls": False, "max_tokens": 120, **PLAIN}
    ((message, reason),) = await joined(server, **body)
    (call,) = message["tool_calls"]
    schema = {"weather": SCHEMA, "now": NOW_SCHEMA}[call["name"]]
    jsonschema.validate(json.loads(call["arguments"]), schema)
    assert (message["content"], message["reasoning"]) == ("", "")
    assert reason == ("tool_calls" if choice == "required" else "stop")
    assert choice == "required" or call == {"name": "now", "arguments": "{}"}


@pytest.mark.parametrize(
    ("form", "check"),
    [
        ({"response_format": FORMAT}, lambda text: jsonschema.validate(json.loads(text), SCHEMA)),
        ({"response_format": {"type": "json_object"}}, lambda text: isinstance(json.loads(text), dict)),
        ({"guided_json": json.dumps(SCHEMA)}, lambda text: jsonschema.validate(json.loads(text), SCHEMA)),
        ({"structured_outputs": {"regex": "[ab]{3}"}}, lambda text: re.fullmatch("[ab]{3}", text)),
        ({"guided_regex": "[ab]{3}"}, lambda text: re.fullmatch("[ab]{3}", text)),
        ({"guided_choice": ["yes", "no"]}, {"yes", "no"}.__contains__),
        ({"guided_grammar": 'root ::= "a" | "b"'}, {"a", "b"}.__contains__),
        ({"guided_json_object": True}, lambda text: isinstance(json.loads(text), dict)),
    ],
)
async def test_forms_hold_on_every_route_whatever_the_model(serve, form, check):
    server = await serve({"default_chat_template_kwargs": SILENT}, Babbler(), **LONG)
    chat = (await server.chat(**form, max_tokens=120)).json()["choices"][0]
    plain = (await server.complete(**form, max_tokens=120)).json()["choices"][0]
    body = {"input": "Hi", "max_output_tokens": 120, **form}
    if "response_format" in form:
        del body["response_format"]
        body["text"] = {"format": {"type": form["response_format"]["type"], **FORMAT["json_schema"]}}
    response = (await server.post(RESPONSES, **body)).json()
    for text, reason in (
        (chat["message"]["content"], chat["finish_reason"]),
        (plain["text"], plain["finish_reason"]),
        (response["output"][-1]["content"][0]["text"], {"completed": "stop"}[response["status"]]),
    ):
        assert check(text) is not False
        assert reason == "stop"


async def test_a_call_or_the_form(serve_writer):
    body = {"tools": [WEATHER], "response_format": FORMAT, "max_tokens": 200}
    server = await serve_writer(CALL)
    ((message, reason),) = await whole(server, **body)
    assert (message["tool_calls"][0]["name"], reason) == ("weather", "tool_calls")
    server = await serve_writer('{"city": "Bari"}')
    ((message, reason),) = await whole(server, **body)
    assert (message["content"], message["tool_calls"], reason) == ('{"city": "Bari"}', [], "stop")


BAD = {"type": "object", "properties": {"x": {"type": "string", "not": {"minLength": 3}}}}


@pytest.mark.parametrize(
    ("more", "param", "match"),
    [
        ({"tools": []}, "tools", "empty array"),
        ({"tools": [WEATHER, WEATHER]}, "tools", "weather"),
        ({"tool_choice": "required"}, "tool_choice", "has no tools"),
        ({"tools": [WEATHER], "tool_choice": "banana"}, "tool_choice", "banana"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice", "'f'"),
        ({"tools": [WEATHER, {"type": "function", "function": {"name": "f", "parameters": BAD}}]}, "tools", "'f'"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": BAD}}}, "response_format", "$.prop"),
        ({"response_format": {"type": "yaml"}}, "response_format", "yaml"),
        ({"structured_outputs": {"json": BAD}}, "structured_outputs", "$.properties.x.not"),
        ({"structured_outputs": {"jsno": BAD}}, "structured_outputs", "jsno"),
        ({"structured_outputs": {"json": {}, "regex": "a"}}, "structured_outputs", "exactly one"),
        ({"guided_regex": "("}, "guided_regex", "guided_regex"),
        ({"guided_grammar": "start: ("}, "guided_grammar", "guided_grammar"),
        ({"guided_choice": ["a"], "guided_regex": "a"}, "guided_choice", "guided_regex and guided_choice"),
        ({"response_format": FORMAT, "guided_regex": "a"}, "guided_regex", "response_format and guided_regex"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_cannot_be_kept_is_refused_by_name(serve, more, param, match, stream):
    server = await serve(**LONG)
    response = await server.chat(**more, stream=stream)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert match in error["message"]


async def test_the_responses_api(serve_writer):
    text = f"{THOUGHTS}Let me see.{CALL}"
    server = await serve_writer(text)
    function = {"type": "function", **WEATHER["function"]}
    body = {"input": "Hi", "tools": [function], "max_output_tokens": 200}
    whole_body = (await server.post(RESPONSES, **body)).json()
    assert [item["type"] for item in whole_body["output"]] == ["reasoning", "message", "function_call"]
    assert whole_body["output"][0]["content"] == [{"type": "reasoning_text", "text": "It rains."}]
    assert whole_body["output"][1]["content"][0]["text"] == "Let me see."
    assert whole_body["output"][2]["arguments"] == '{"city": "Rome"}'
    assert whole_body["usage"]["output_tokens_details"]["reasoning_tokens"] > 1
    client = server.openai()
    async with client.responses.stream(model=NAME, input="Hi", tools=[function], max_output_tokens=200) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert final.output[2].arguments == '{"city": "Rome"}'
    assert final.output_text == "Let me see."
    assert "response.function_call_arguments.done" in kinds
    assert "response.reasoning_text.done" in kinds


async def test_anthropic_s_api(serve_writer):
    server = await serve_writer(f"{THOUGHTS}Let me see.{CALL}")
    tool = {"name": "weather", "description": "Forecast.", "input_schema": SCHEMA}
    ask = {"model": NAME, "max_tokens": 200, "messages": MESSAGES, "tools": [tool]}
    client = server.anthropic()
    message = await client.messages.create(**ask)
    async with client.messages.stream(**ask) as stream:
        final = await stream.get_final_message()
    for answer in (message, final):
        assert [block.type for block in answer.content] == ["thinking", "text", "tool_use"]
        assert answer.content[0].thinking == "It rains."
        assert answer.content[1].text == "Let me see."
        assert (answer.content[2].name, answer.content[2].input) == ("weather", {"city": "Rome"})
        assert answer.stop_reason == "tool_use"


async def test_openai_s_helpers(serve):
    class Trip(BaseModel):
        city: str
        days: int

    server = await serve({"default_chat_template_kwargs": SILENT}, Babbler(), **LONG)
    client = server.openai()
    parsed = await client.chat.completions.parse(
        model=NAME, messages=MESSAGES, response_format=Trip, max_completion_tokens=100
    )
    assert isinstance(parsed.choices[0].message.parsed, Trip)
    tool = openai.pydantic_function_tool(Trip)
    async with client.chat.completions.stream(
        model=NAME,
        messages=MESSAGES,
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
        max_completion_tokens=200,
    ) as stream:
        final = await stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Trip)
    response = await client.responses.parse(model=NAME, input="Hi", text_format=Trip, max_output_tokens=100)
    assert isinstance(response.output_parsed, Trip)


@pytest.mark.parametrize(
    ("settings", "shown"), [({}, "hermes, from the"), ({"tool_call_parser": "phi4_mini_json"}, "phi4")]
)
async def test_the_log_names_the_formats(serve, caplog, settings, shown):
    caplog.set_level("INFO", "vllm_local")
    await serve(settings)
    assert f"Tool calls are read in the format {shown}" in caplog.text
    assert "Reasoning is read in the format think, from the chat template" in caplog.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_form_that_cannot_be_written_stops_nobody_else(serve, stream):
    server = await serve({}, Babbler(), **LONG)
    forms: list[dict[str, Any]] = [
        {"guided_grammar": "start: start"},
        {"guided_json": "[" * 5000},
        {"guided_json": {"enum": []}},
    ]
    asked = [server.chat(**form, stream=stream) for form in forms]
    *refused, answer = await asyncio.gather(*asked, server.chat(guided_choice=["yes"], **PLAIN))
    assert [(response.status_code, response.json()["error"]["param"]) for response in refused] == [
        (400, name) for form in forms for name in form
    ]
    assert answer.json()["choices"][0]["message"]["content"] == "yes"
