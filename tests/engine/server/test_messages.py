import asyncio

import anthropic
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.engine_fakes import ANSWER, FakeModelRunner, make_engine
from tests.engine.server.rig import MESSAGES, LeavingClient, Server, until
from vllm_local.server.app import create_app
from vllm_local.server.settings import ServerSettings

PATH = "/v1/messages"
ASK = {"model": "vllm-local-starter", "max_tokens": 8, "messages": MESSAGES}


async def test_a_message(server):
    message = await server.anthropic().messages.create(**ASK)
    whole = (await server.chat()).json()
    assert message.id.startswith("msg-")
    assert (message.role, message.type, message.model) == ("assistant", "message", "vllm-local-starter")
    assert [(block.type, block.text) for block in message.content] == [
        ("text", whole["choices"][0]["message"]["content"])
    ]
    assert (message.stop_reason, message.stop_sequence) == ("max_tokens", None)
    assert message.usage.input_tokens == whole["usage"]["prompt_tokens"]
    assert message.usage.output_tokens == 8


async def test_the_stream_says_what_the_whole_answer_says(server):
    client = server.anthropic()
    for more in ({}, {"stop_sequences": ["fox", "dog"], "max_tokens": 50}):
        whole = await client.messages.create(**{**ASK, **more})
        async with client.messages.stream(**{**ASK, **more}) as stream:
            texts = [text async for text in stream.text_stream]
            final = await stream.get_final_message()
        assert "".join(texts) == whole.content[0].text == final.content[0].text
        assert (final.stop_reason, final.stop_sequence) == (whole.stop_reason, whole.stop_sequence)
        assert final.usage.output_tokens == whole.usage.output_tokens


BODIES = st.fixed_dictionaries(
    {"max_tokens": st.integers(1, 30)},
    optional={
        "temperature": st.sampled_from([0.0, 0.7, 1.0]),
        "top_k": st.integers(1, 20),
        "stop_sequences": st.lists(st.sampled_from(["fox", " ", "e", "ow", "the lazy"]), max_size=3),
        "system": st.sampled_from(["", "Be brief."]),
    },
)


@settings(max_examples=15, deadline=None)
@given(body=BODIES)
def test_the_stream_says_what_the_whole_answer_says_whatever_is_asked(body):
    asyncio.run(compare({**ASK, **body}))


async def compare(body):
    with make_engine(FakeModelRunner()) as engine:
        app = create_app(engine, ServerSettings())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            server = Server(client, engine, app)
            whole = (await server.post(PATH, **body)).json()
            events = await server.events(PATH, **body)
            await server.check_idle()
    texts = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(texts) == "".join(block["text"] for block in whole["content"])
    (final,) = (event for event in events if event["type"] == "message_delta")
    assert final["delta"] == {name: whole[name] for name in ("stop_reason", "stop_sequence")}
    assert final["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


async def test_the_events_are_anthropic_s(server):
    response = await server.post(PATH, **ASK, stream=True)
    names = [line[7:] for line in response.text.split("\n") if line.startswith("event: ")]
    assert names[:2] == ["message_start", "content_block_start"]
    assert set(names[2:-3]) == {"content_block_delta"}
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert "[DONE]" not in response.text


async def test_a_stop_sequence_is_named(server):
    message = await server.anthropic().messages.create(**{**ASK, "stop_sequences": ["fox"], "max_tokens": 50})
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "fox")
    assert message.content[0].text == ANSWER.split("fox")[0]


@pytest.mark.parametrize("system", ["Be brief.", [{"type": "text", "text": "Be brief."}]])
async def test_the_system_prompt_and_blocks_are_read(server, system):
    blocks = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    counted = await server.anthropic().messages.count_tokens(model=ASK["model"], messages=blocks, system=system)
    expected = server.engine.render([{"role": "system", "content": "Be brief."}, *MESSAGES])
    assert counted.input_tokens == len(expected)
    message = await server.anthropic().messages.create(**{**ASK, "messages": blocks}, system=system)
    assert message.usage.input_tokens == len(expected)


async def test_sampling_parameters_arrive(server):
    with pytest.raises(anthropic.BadRequestError, match="top_p must be in"):
        await server.anthropic().messages.create(**ASK, extra_body={"top_p": 0})
    with pytest.raises(anthropic.BadRequestError, match="temperature must be"):
        await server.anthropic().messages.create(**ASK, extra_body={"temperature": -1})
    with pytest.raises(anthropic.BadRequestError, match="top_k must be"):
        await server.anthropic().messages.create(**ASK, extra_body={"top_k": -2})


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "which only Anthropic runs"),
        ({"thinking": {"type": "often"}}, "thinking.type must be"),
        ({"thinking": {"type": "enabled", "budget_tokens": "many"}}, "thinking.budget_tokens must be an integer"),
        ({"tool_choice": {"type": "any"}}, "the request has no tools"),
        ({"tool_choice": {"type": "often"}}, "tool_choice.type must be"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers is not yet supported"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "not a multimodal model"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"messages": [{"role": "king", "content": "Hi"}]}, "1 validation error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_have_anthropic_s_shape(server, more, match, stream):
    response = await server.post(PATH, **{**ASK, **more, "stream": stream})
    body = response.json()
    assert response.status_code == 400
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert match in body["error"]["message"]


async def test_what_asks_for_nothing_is_let_in(server):
    more = {
        "thinking": {"type": "disabled"},
        "tool_choice": {"type": "auto"},
        "tools": [],
        "metadata": {"user_id": "a"},
    }
    assert (await server.post(PATH, **ASK, **more)).status_code == 200


async def test_an_unknown_model(server):
    with pytest.raises(anthropic.NotFoundError, match="The model `nope` does not exist"):
        await server.anthropic().messages.create(**{**ASK, "model": "nope"})


async def test_an_error_in_mid_stream(serve, runner):
    runner.step_seconds = 0.02
    server = await serve()
    task = asyncio.ensure_future(server.events(PATH, **{**ASK, "max_tokens": 100}))
    await until(lambda: runner.num_steps > 3)
    runner.failure = RuntimeError("out of order")
    *_, error = await task
    assert (error["type"], error["error"]["type"]) == ("error", "api_error")
    assert "out of order" in error["error"]["message"]


async def test_a_client_that_leaves(serve, runner):
    runner.step_seconds = 0.01
    server = await serve()
    client = LeavingClient(server.app, PATH, num_pieces=2, **{**ASK, "max_tokens": 100}, stream=True)
    await client.run()
    await until(lambda: server.engine.stats().num_running == 0)
    assert server.engine.stats().num_requests_aborted == 1


async def test_the_key_is_anthropic_s_header(serve):
    server = await serve({"api_key": ("EMPTY",)})
    assert (await server.anthropic().messages.create(**ASK)).content
    assert (await server.post(PATH, **ASK)).status_code == 401
