import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.engine_fakes import ANSWER, FakeModelRunner, make_engine, make_tokenizer
from tests.engine.server.rig import MESSAGES, LeavingClient, Server, until
from vllm_local.server.app import create_app
from vllm_local.server.settings import ServerSettings

PATH = "/v1/chat/completions"


def answer_of(num_tokens, choice_index=0):
    words = make_tokenizer().encode(ANSWER)
    return make_tokenizer().decode([words[(choice_index + i) % len(words)] for i in range(num_tokens)])


class TestWholeAnswers:
    async def test_the_body_is_vllm_s(self, server):
        response = await server.chat()
        assert response.status_code == 200
        body = response.json()
        num_prompt_tokens = len(server.engine.render(MESSAGES))
        assert body["id"].startswith("chatcmpl-")
        assert body["object"] == "chat.completion"
        assert body["model"] == "vllm-local-starter"
        assert body["usage"] == {
            "prompt_tokens": num_prompt_tokens,
            "completion_tokens": 8,
            "total_tokens": num_prompt_tokens + 8,
            "prompt_tokens_details": None,
            "completion_tokens_details": {"reasoning_tokens": 0},
        }
        (choice,) = body["choices"]
        assert choice["message"]["content"] == answer_of(8)
        assert choice["message"]["role"] == "assistant"
        assert "tool_calls" not in choice["message"]
        assert choice["message"]["refusal"] is None
        assert (choice["finish_reason"], choice["stop_reason"], choice["logprobs"]) == ("length", None, None)

    async def test_the_model_is_called_as_the_request_called_it(self, serve):
        server = await serve({"served_model_name": ("a", "b")})
        assert (await server.chat(model="b")).json()["model"] == "b"
        assert (await server.chat()).json()["model"] == "a"
        response = await server.chat(model="nope")
        assert response.status_code == 404
        assert response.json()["error"] == {
            "message": "The model `nope` does not exist. Valid aliases: a, b.",
            "type": "NotFoundError",
            "param": "model",
            "code": 404,
        }

    async def test_choices(self, server):
        body = (await server.chat(n=3)).json()
        assert [choice["message"]["content"] for choice in body["choices"]] == [answer_of(8, i) for i in range(3)]
        assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
        assert body["usage"]["completion_tokens"] == 24

    async def test_stop_strings(self, server):
        (choice,) = (await server.chat(stop="fox", max_tokens=50)).json()["choices"]
        assert choice["message"]["content"] == ANSWER.split("fox")[0]
        assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", "fox")

    async def test_max_completion_tokens_wins(self, server):
        assert (await server.chat(max_tokens=3, max_completion_tokens=5)).json()["usage"]["completion_tokens"] == 5

    async def test_without_max_tokens_the_answer_takes_the_room_that_is_left(self, server):
        usage = (await server.post(PATH, messages=MESSAGES)).json()["usage"]
        assert usage["total_tokens"] == server.engine.config.max_model_len

    async def test_logprobs(self, server):
        (choice,) = (await server.chat(max_tokens=2, logprobs=True, top_logprobs=2)).json()["choices"]
        words = [make_tokenizer().token_text(token_id) for token_id in make_tokenizer().encode(ANSWER)[:2]]
        content = choice["logprobs"]["content"]
        assert [entry["token"] for entry in content] == words
        assert [entry["logprob"] for entry in content] == [-0.5, -0.5]
        assert content[0]["bytes"] == list(words[0].encode())
        assert [len(entry["top_logprobs"]) for entry in content] == [2, 2]
        assert content[0]["top_logprobs"][0]["token"] == words[0]

    async def test_prompt_logprobs(self, server):
        body = (await server.chat(prompt_logprobs=1, n=2)).json()
        first, *others = body["prompt_logprobs"]
        assert first is None
        token_ids = server.engine.render(MESSAGES)
        expected = {"logprob": -0.5, "rank": 1}
        for token_id, entries in zip(token_ids[1:], others, strict=True):
            text = make_tokenizer().token_text(token_id)
            assert entries == {str(token_id): {**expected, "decoded_token": text}}
        assert (await server.chat()).json()["prompt_logprobs"] is None

    @pytest.mark.parametrize("stream", [False, True])
    async def test_logprobs_of_named_tokens(self, server, stream):
        named = [9, 7, 3]
        fields = {"max_tokens": 1, "logprobs": True, "logprob_token_ids": named, "return_tokens_as_token_ids": True}
        if stream:
            chunks = [chunk for chunk in await server.chat_events(**fields) if chunk != "[DONE]"]
            (entry,) = [
                item for chunk in chunks for item in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]
            ]
        else:
            (entry,) = (await server.chat(**fields)).json()["choices"][0]["logprobs"]["content"]
        sampled, *others = entry["top_logprobs"]
        assert sampled["token"] == entry["token"]
        # Best first; the fake model's ranks are the token ids.
        assert [(item["token"], item["logprob"]) for item in others] == [
            ("token_id:3", -0.75),
            ("token_id:7", -1.75),
            ("token_id:9", -2.25),
        ]

    async def test_tokens_as_ids(self, server):
        body = (
            await server.chat(
                max_tokens=2,
                logprobs=True,
                return_tokens_as_token_ids=True,
                return_token_ids=True,
                return_prompt_text=True,
            )
        ).json()
        token_ids = make_tokenizer().encode(ANSWER)[:2]
        (choice,) = body["choices"]
        assert choice["token_ids"] == token_ids
        entries = choice["logprobs"]["content"]
        assert [entry["token"] for entry in entries] == [f"token_id:{item}" for item in token_ids]
        assert ANSWER.startswith(bytes(entries[0]["bytes"] + entries[1]["bytes"]).decode())
        assert body["prompt_token_ids"] == server.engine.render(MESSAGES)
        assert body["prompt_text"] == server.engine.renderer.render(MESSAGES)

    async def test_echo_begins_with_the_assistant_s_last_message(self, server):
        messages = [*MESSAGES, {"role": "assistant", "content": "So: "}]
        more = {"continue_final_message": True, "add_generation_prompt": False}
        body = (await server.chat(messages=messages, echo=True, **more)).json()
        assert body["choices"][0]["message"]["content"] == "So: " + answer_of(8)
        assert (await server.chat(echo=True)).json()["choices"][0]["message"]["content"] == answer_of(8)

    async def test_cached_tokens_are_told_where_asked_for(self, serve):
        server = await serve({"enable_prompt_tokens_details": True})
        for cached in (0, len(server.engine.render(MESSAGES)) // 4 * 4):
            assert (await server.chat()).json()["usage"]["prompt_tokens_details"] == {"cached_tokens": cached}
        assert (await server.chat(cache_salt="x")).json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}

    @pytest.mark.parametrize(
        ("side", "kept"), [("left", slice(-5, None)), ("right", slice(5)), (None, slice(-5, None))]
    )
    async def test_truncation(self, server, side, kept):
        body = (await server.chat(truncate_prompt_tokens=5, truncation_side=side, return_token_ids=True)).json()
        assert body["prompt_token_ids"] == server.engine.render(MESSAGES)[kept]

    async def test_truncation_to_what_fits(self, server):
        messages = [{"role": "user", "content": "long " * 500}]
        body = (await server.chat(messages=messages, truncate_prompt_tokens=-1)).json()
        assert body["usage"]["prompt_tokens"] == server.engine.config.max_model_len - 8
        assert body["usage"]["completion_tokens"] == 8

    async def test_the_client_s_own_id(self, server):
        assert (await server.chat(request_id="mine")).json()["id"] == "chatcmpl-mine"
        response = await server.client.post(PATH, json={"messages": MESSAGES}, headers={"X-Request-Id": "other"})
        assert response.json()["id"] == "chatcmpl-other"

    async def test_two_requests_may_have_one_id(self, server):
        responses = await asyncio.gather(*(server.chat(request_id="same", max_tokens=50) for _ in range(4)))
        assert [response.status_code for response in responses] == [200] * 4


class TestStreams:
    async def test_the_chunks_are_vllm_s(self, server, runner):
        runner.step_seconds = 0.01  # several chunks, however slow the machine
        *chunks, done = await server.chat_events()
        assert done == "[DONE]"
        first, *rest = chunks
        assert first["object"] == "chat.completion.chunk"
        assert first["choices"] == [
            {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        ]
        assert first["prompt_token_ids"] is None
        assert {chunk["id"] for chunk in chunks} == {first["id"]}
        assert all("usage" not in chunk for chunk in chunks)
        assert [chunk["choices"][0]["finish_reason"] for chunk in rest[:-1]] == [None] * (len(rest) - 1)
        last = rest[-1]["choices"][0]
        assert last["delta"]["content"]
        assert (last["finish_reason"], last["stop_reason"]) == ("length", None)
        assert len(rest) > 1
        assert ["system_fingerprint" in chunk for chunk in rest] == [False] * (len(rest) - 1) + [True]

    async def test_usage_at_the_end(self, server):
        *chunks, usage, _ = await server.chat_events(stream_options={"include_usage": True})
        assert usage["choices"] == []
        assert usage["usage"] == (await server.chat()).json()["usage"]
        assert all("usage" not in chunk for chunk in chunks)

    async def test_usage_all_along(self, serve, runner):
        runner.step_seconds = 0.01  # a token a chunk
        options = {"include_usage": True, "continuous_usage_stats": True}
        server = await serve()
        forced = await serve({"enable_force_include_usage": True})
        for events in (await server.chat_events(stream_options=options), await forced.chat_events()):
            counts = [chunk["usage"]["completion_tokens"] for chunk in events[:-1]]
            assert counts[0] == 0
            assert counts == sorted(counts)
            assert counts[-1] == 8

    async def test_a_chunk_may_have_to_wait_for_tokens(self, serve, runner):
        runner.step_seconds = 0.005
        server = await serve({"stream_interval": 5})
        _, *chunks, _ = await server.chat_events(max_tokens=17, return_token_ids=True)
        sizes = [len(chunk["choices"][0]["token_ids"]) for chunk in chunks]
        assert sum(sizes) == 17
        assert all(size >= 5 for size in sizes[1:-1])
        _, *chunks, _ = await server.chat_events(max_tokens=17, return_token_ids=True, stream_interval=100)
        assert len(chunks) == 2

    async def test_what_is_wrong_is_an_http_error_and_no_stream(self, server):
        for body in ({"temperature": -1}, {"messages": [{"role": "user", "content": "long " * 500}]}):
            response = await server.chat(stream=True, **body)
            assert response.status_code == 400
            assert response.headers["content-type"] == "application/json"

    async def test_an_error_in_mid_stream_is_told_and_ends_the_stream(self, serve, runner):
        runner.step_seconds = 0.02
        server = await serve()
        task = asyncio.ensure_future(server.chat_events(max_tokens=100))
        await until(lambda: runner.num_steps > 3)
        runner.failure = RuntimeError("out of order")
        *chunks, error, done = await task
        assert chunks[0]["choices"]
        assert done == "[DONE]"
        assert error["error"]["code"] == 500
        assert "out of order" in error["error"]["message"]
        assert (await server.client.get("/health")).status_code == 503

    async def test_comments_keep_a_quiet_stream_alive(self, serve, runner):
        runner.step_seconds = 0.1
        server = await serve({"sse_keep_alive_interval": 0.02})
        response = await server.chat(stream=True, max_tokens=3)
        assert ": keep-alive\n\n" in response.text
        assert response.text.endswith("data: [DONE]\n\n")

    @pytest.mark.parametrize("interval", [None, 0.01])
    async def test_a_client_that_leaves_frees_its_slot_and_is_counted(self, serve, runner, interval):
        runner.step_seconds = 0.01
        server = await serve({"sse_keep_alive_interval": interval})
        client = LeavingClient(server.app, PATH, num_pieces=2, messages=MESSAGES, max_tokens=100, stream=True)
        await client.run()
        await until(lambda: server.engine.stats().num_running == 0)
        assert server.engine.stats().num_requests_aborted == 1
        samples = await server.metrics()
        name = 'vllm:request_success_total{engine="0",finished_reason="abort",model_name="vllm-local-starter"}'
        assert samples[name] == 1

    async def test_a_client_that_leaves_before_the_first_token(self, serve, runner):
        server = await serve()
        runner.gate.clear()
        for stream in (True, False):
            client = LeavingClient(server.app, PATH, messages=MESSAGES, max_tokens=100, stream=stream)
            task = asyncio.ensure_future(client.run())
            await until(lambda: server.context.admission.num_choices == 1)
            await asyncio.sleep(0.02)
            client.gone.set()
            await task
            assert client.sent[0]["status"] == 499
            assert server.context.admission.num_choices == 0
        runner.gate.set()
        await until(lambda: server.engine.stats().num_requests_aborted == 2)


STRINGS = st.sampled_from(["fox", "quick brown", " ", "z", "d", "nowhere"])
BODIES = st.fixed_dictionaries(
    {"max_tokens": st.integers(1, 60)},
    optional={
        "n": st.integers(1, 3),
        "stop": st.lists(STRINGS, max_size=3),
        "include_stop_str_in_output": st.booleans(),
        "min_tokens": st.just(1),
        "logprobs": st.just(True),
        "top_logprobs": st.integers(0, 3),
        "stream_interval": st.integers(1, 7),
        "return_token_ids": st.just(True),
        "echo": st.booleans(),
        "skip_special_tokens": st.booleans(),
    },
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, step_seconds=st.sampled_from([0.0, 0.001]))
def test_the_stream_says_what_the_whole_answer_says(body, step_seconds):
    if "top_logprobs" in body:
        body["logprobs"] = True
    asyncio.run(compare(body, FakeModelRunner(step_seconds=step_seconds)))


async def compare(body, runner):
    import httpx

    messages = [*MESSAGES, {"role": "assistant", "content": "So: "}]
    with make_engine(runner) as engine:
        app = create_app(engine, ServerSettings())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            server = Server(client, engine, app)
            whole = (await server.chat(messages=messages, **body)).json()
            *chunks, usage, _ = await server.chat_events(
                messages=messages, stream_options={"include_usage": True}, **body
            )
            await server.check_idle()
    assert usage["usage"] == whole["usage"]
    for choice in whole["choices"]:
        mine = [part for chunk in chunks for part in chunk["choices"] if part["index"] == choice["index"]]
        assert "".join(part["delta"]["content"] for part in mine) == choice["message"]["content"]
        logprobs = [entry for part in mine if part["logprobs"] for entry in part["logprobs"]["content"]]
        assert logprobs == (choice["logprobs"] or {"content": []})["content"]
        token_ids = [token_id for part in mine for token_id in part.get("token_ids") or ()]
        assert token_ids == (choice["token_ids"] or [])
        assert mine[-1]["finish_reason"] == choice["finish_reason"]
        assert mine[-1]["stop_reason"] == choice["stop_reason"]
