import asyncio

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.engine_fakes import FakeModelRunner, make_engine
from tests.engine.server.rig import MESSAGES, LeavingClient, Server, until
from vllm_local.server.app import create_app
from vllm_local.server.settings import ServerSettings

PATH = "/v1/responses"
ASK = {"model": "vllm-local-starter", "input": "Hi", "max_output_tokens": 8}


async def test_a_response(server):
    response = await server.openai().responses.create(**ASK)
    whole = (await server.chat()).json()
    assert response.id.startswith("resp-")
    assert response.output_text == whole["choices"][0]["message"]["content"]
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output[0].status == "incomplete"
    assert response.usage.input_tokens == whole["usage"]["prompt_tokens"]
    assert (response.usage.output_tokens, response.usage.total_tokens) == (8, whole["usage"]["total_tokens"])
    assert response.store is False


async def test_a_response_that_ends_by_itself(server):
    response = await server.openai().responses.create(**{**ASK, "max_output_tokens": 50}, extra_body={"stop": "fox"})
    assert (response.status, response.incomplete_details) == ("completed", None)
    assert response.output_text == "The quick brown "


@pytest.mark.parametrize("stop", ["fox", "nowhere"])
@pytest.mark.parametrize("include", [[], ["message.output_text.logprobs"]])
async def test_the_stream_says_what_the_whole_answer_says(server, stop, include):
    ask = {**ASK, "max_output_tokens": 20, "include": include, "extra_body": {"stop": stop}}
    client = server.openai()
    whole = await client.responses.create(**ask)
    events = [event async for event in await client.responses.create(**ask, stream=True)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    names = [event.type.removeprefix("response.") for event in events]
    assert names[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert set(names[4:-4]) == {"output_text.delta"}
    assert names[-4:] == ["output_text.done", "content_part.done", "output_item.done", whole.status]
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert "".join(event.delta for event in deltas) == whole.output_text
    assert [entry.token for event in deltas for entry in event.logprobs] == [
        entry.token for entry in whole.output[0].content[0].logprobs
    ]
    final = events[-1].response
    assert final.output_text == whole.output_text
    assert final.usage.total_tokens == whole.usage.total_tokens
    assert final.usage.output_tokens == whole.usage.output_tokens


BODIES = st.fixed_dictionaries(
    {"max_output_tokens": st.integers(1, 30)},
    optional={
        "temperature": st.sampled_from([0.0, 0.7, 1.0]),
        "seed": st.integers(0, 2**31),
        "stop": st.lists(st.sampled_from(["fox", " ", "e", "ow", "the lazy"]), max_size=3),
        "include_stop_str_in_output": st.booleans(),
        "ignore_eos": st.booleans(),
        "top_logprobs": st.integers(0, 3),
        "instructions": st.sampled_from(["", "Be brief."]),
    },
)


@settings(max_examples=15, deadline=None)
@given(body=BODIES)
def test_the_stream_says_what_the_whole_answer_says_whatever_is_asked(body):
    asyncio.run(compare(body))


async def compare(body):
    with make_engine(FakeModelRunner()) as engine:
        app = create_app(engine, ServerSettings())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            server = Server(client, engine, app)
            whole = (await server.post(PATH, input="Hi", **body)).json()
            events = await server.events(PATH, input="Hi", **body)
            await server.check_idle()
    final = events[-1]["response"]
    for name in ("status", "incomplete_details"):
        assert final[name] == whole[name]
    for name in ("input_tokens", "output_tokens"):  # how many were cached differs
        assert final["usage"][name] == whole["usage"][name]
    (part,), (whole_part,) = final["output"][0]["content"], whole["output"][0]["content"]
    assert part == whole_part
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(event["delta"] for event in deltas) == whole_part["text"]


async def test_conversations(server):
    items = [
        {"role": "user", "content": "Hi"},
        {"type": "reasoning", "id": "r", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes?"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "Go on"}]},
    ]
    response = await server.openai().responses.create(**{**ASK, "input": items, "instructions": "Be brief."})
    messages = [
        {"role": "system", "content": "Be brief."},
        *MESSAGES,
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Go on"},
    ]
    assert response.usage.input_tokens == len(server.engine.render(messages))
    assert response.instructions == "Be brief."


async def test_logprobs(server):
    response = await server.openai().responses.create(
        **ASK, include=["message.output_text.logprobs"], top_logprobs=2, temperature=0.5
    )
    entries = response.output[0].content[0].logprobs
    assert len(entries) == 8
    assert [len(entry.top_logprobs) for entry in entries] == [2] * 8
    assert response.temperature == 0.5


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"previous_response_id": "resp-1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"conversation": "conv-1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "nope"}}}}, "text.format"),
        ({"include": ["file_search_call.results"]}, "include"),
        ({"input": [{"type": "computer_call", "call_id": "1"}]}, "input"),
        ({"input": []}, "messages"),
        ({"n": 2}, "n"),
        ({"max_output_tokens": 0}, "max_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"prompt_logprobs": 0}, "prompt_logprobs"),
        ({"logprob_token_ids": [1]}, "logprob_token_ids"),
        ({"reasoning": {"effort": "very"}}, "body.reasoning.effort"),
        ({"guided_json": "{"}, "guided_json"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_cannot_be_done_is_refused_by_name(server, more, param, stream):
    response = await server.post(PATH, **{**ASK, **more, "stream": stream})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_what_asks_for_nothing_is_let_in(server):
    more = {"store": True, "tools": [], "tool_choice": "auto", "text": {"format": {"type": "text"}, "verbosity": "low"}}
    extra = {"max_tokens": 3, "messages": 5, "logprobs": 7, "reasoning": {"effort": "low"}, "metadata": {"a": "b"}}
    response = await server.post(PATH, **ASK, **more, **extra)
    assert response.status_code == 200
    assert response.json()["usage"]["output_tokens"] == 8
    assert response.json()["reasoning"]["effort"] == "low"


async def test_an_error_in_mid_stream(serve, runner):
    runner.step_seconds = 0.02
    server = await serve()
    task = asyncio.ensure_future(server.events(PATH, **{**ASK, "max_output_tokens": 100}))
    await until(lambda: runner.num_steps > 3)
    runner.failure = RuntimeError("out of order")
    *_, failed = await task
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert "out of order" in failed["response"]["error"]["message"]


async def test_a_client_that_leaves(serve, runner):
    runner.step_seconds = 0.01
    server = await serve()
    client = LeavingClient(server.app, PATH, num_pieces=2, input="Hi", max_output_tokens=100, stream=True)
    await client.run()
    await until(lambda: server.engine.stats().num_running == 0)
    assert server.engine.stats().num_requests_aborted == 1


async def test_too_long_an_input(server):
    with pytest.raises(openai.BadRequestError, match="maximum context length is 128 tokens"):
        await server.openai().responses.create(**{**ASK, "input": "long " * 500})
