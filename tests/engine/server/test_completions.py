import asyncio

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.engine_fakes import ANSWER, FakeModelRunner, make_engine, make_tokenizer
from tests.engine.server.rig import LeavingClient, Server, until
from vllm_local.server.app import create_app
from vllm_local.server.prompts import MAX_ANSWERS
from vllm_local.server.settings import ServerSettings

PATH = "/v1/completions"


def answer_of(num_tokens, choice_index=0):
    words = make_tokenizer().encode(ANSWER)
    return make_tokenizer().decode([words[(choice_index + i) % len(words)] for i in range(num_tokens)])


async def test_the_body_is_vllm_s(server):
    body = (await server.complete()).json()
    assert body["id"].startswith("cmpl-")
    assert body["object"] == "text_completion"
    num_prompt_tokens = len(make_tokenizer().encode("Hi"))
    assert body["usage"]["prompt_tokens"] == num_prompt_tokens
    assert body["usage"]["total_tokens"] == num_prompt_tokens + 8
    (choice,) = body["choices"]
    assert choice["text"] == answer_of(8)
    assert (choice["index"], choice["finish_reason"], choice["stop_reason"]) == (0, "length", None)
    assert choice["logprobs"] is choice["prompt_logprobs"] is choice["token_ids"] is None


async def test_sixteen_tokens_by_default(server):
    assert (await server.post(PATH, prompt="Hi")).json()["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize(
    ("prompt", "num_prompts"),
    [("Hi", 1), (["Hi"], 1), (["Hi", "Ho", "Hi Ho"], 3), ([5, 6, 7], 1), ([[5, 6], [7]], 2)],
)
@pytest.mark.parametrize("n", [1, 2])
async def test_prompts_of_every_kind(server, prompt, num_prompts, n):
    body = (await server.complete(prompt=prompt, n=n, return_token_ids=True)).json()
    assert [choice["index"] for choice in body["choices"]] == list(range(num_prompts * n))
    assert [choice["text"] for choice in body["choices"]] == [answer_of(8, i % n) for i in range(num_prompts * n)]
    prompts = [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else prompt
    ids = [make_tokenizer().encode(item) if isinstance(item, str) else item for item in prompts]
    assert [choice["prompt_token_ids"] for choice in body["choices"]] == [item for item in ids for _ in range(n)]
    assert body["usage"]["prompt_tokens"] == sum(map(len, ids))
    assert body["usage"]["completion_tokens"] == 8 * num_prompts * n


@pytest.mark.parametrize("prompt", [None, [], [[]], "", [""], [[1], []]])
async def test_no_prompt(server, prompt):
    response = await server.complete(prompt=prompt)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "prompt"


@pytest.mark.parametrize("prompt", [[-1], [10**6], [[1], [10**6]]])
async def test_ids_that_are_no_tokens(server, prompt):
    response = await server.complete(prompt=prompt)
    assert response.status_code == 400
    assert "out of vocabulary" in response.json()["error"]["message"]


async def test_echo(server):
    body = (await server.complete(echo=True, prompt=["Hi", "Ho"])).json()
    assert [choice["text"] for choice in body["choices"]] == ["Hi" + answer_of(8), "Ho" + answer_of(8)]
    token_ids = make_tokenizer().encode(" fox", add_special_tokens=False)
    body = (await server.complete(echo=True, prompt=token_ids)).json()
    assert body["choices"][0]["text"] == make_tokenizer().decode(token_ids) + answer_of(8)


@pytest.mark.parametrize("stream", [False, True])
async def test_echo_of_the_prompt_alone_computes_nothing(server, runner, stream):
    if stream:
        chunk, usage, _ = await server.complete_events(echo=True, max_tokens=0, stream_options={"include_usage": True})
        body = {"choices": chunk["choices"], "usage": usage["usage"]}
    else:
        body = (await server.complete(echo=True, max_tokens=0)).json()
    (choice,) = body["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("Hi", "length")
    assert body["usage"]["completion_tokens"] == 0
    assert runner.num_steps == 0


async def test_nothing_without_echo_is_refused(server):
    assert (await server.complete(max_tokens=0)).json()["error"]["param"] == "max_tokens"


async def test_logprobs(server):
    (choice,) = (await server.complete(max_tokens=3, logprobs=2)).json()["choices"]
    words = [make_tokenizer().token_text(token_id) for token_id in make_tokenizer().encode(ANSWER)[:3]]
    logprobs = choice["logprobs"]
    assert logprobs["tokens"] == words
    assert logprobs["token_logprobs"] == [-0.5] * 3
    assert logprobs["text_offset"] == [0, len(words[0]), len(words[0]) + len(words[1])]
    assert [set(top) >= {word} for top, word in zip(logprobs["top_logprobs"], words, strict=True)] == [True] * 3
    (choice,) = (await server.complete(max_tokens=1, logprobs=0, return_tokens_as_token_ids=True)).json()["choices"]
    assert choice["logprobs"]["tokens"] == [f"token_id:{make_tokenizer().encode(ANSWER)[0]}"]


PROMPT = "The lazy dog"


def spelled(text, add_special_tokens=True):
    tokenizer = make_tokenizer()
    first, *rest = tokenizer.encode(text, add_special_tokens=add_special_tokens)
    return [tokenizer.decode([first], skip_special_tokens=False), *map(tokenizer.token_text, rest)]


@pytest.mark.parametrize("max_tokens", [0, 1, 3])
async def test_echo_with_logprobs_tells_those_of_the_prompt(server, max_tokens):
    body = (await server.complete(prompt=[PROMPT, "Ho"], echo=True, logprobs=2, max_tokens=max_tokens)).json()
    words = [make_tokenizer().token_text(token_id) for token_id in make_tokenizer().encode(ANSWER)[:max_tokens]]
    assert body["usage"]["completion_tokens"] == 2 * max_tokens
    for prompt, choice in zip((PROMPT, "Ho"), body["choices"], strict=True):
        logprobs, tokens = choice["logprobs"], spelled(prompt) + words
        assert choice["text"] == prompt + "".join(words)
        assert choice["finish_reason"] == "length"
        assert logprobs["tokens"] == tokens
        assert logprobs["token_logprobs"] == [None] + [-0.5] * (len(tokens) - 1)
        assert logprobs["text_offset"] == [len("".join(tokens[:index])) for index in range(len(tokens))]
        none, *tops = logprobs["top_logprobs"]
        assert none is None
        assert all(top[token] == -0.5 for token, top in zip(tokens[1:], tops, strict=True))


async def test_echo_with_logprobs_of_many_answers(server):
    whole = (await server.complete(prompt=PROMPT, echo=True, logprobs=1, max_tokens=0, n=3)).json()
    assert [choice["text"] for choice in whole["choices"]] == [PROMPT] * 3
    assert whole["choices"][0]["logprobs"] == whole["choices"][2]["logprobs"]
    sampled = (await server.complete(prompt=PROMPT, echo=True, logprobs=1, max_tokens=2, n=3)).json()
    prompt_length = len(spelled(PROMPT))
    for choice in sampled["choices"]:
        assert choice["logprobs"]["tokens"][:prompt_length] == spelled(PROMPT)
        assert len(choice["logprobs"]["tokens"]) == prompt_length + 2


async def test_a_described_prompt_takes_nothing_from_the_cache(server):
    for _ in range(2):
        body = (await server.complete(prompt=[5] * 40, echo=True, logprobs=0, max_tokens=0)).json()
        assert len(body["choices"][0]["logprobs"]["tokens"]) == 40
    assert server.engine.stats().prefix_cache_hits == 0


async def test_prompt_logprobs(server):
    body = (await server.complete(prompt=[PROMPT, "Ho"], prompt_logprobs=2)).json()
    for prompt, choice in zip((PROMPT, "Ho"), body["choices"], strict=True):
        assert choice["text"] == answer_of(8)
        assert choice["logprobs"] is None
        first, *others = choice["prompt_logprobs"]
        assert first is None
        for token_id, entries in zip(make_tokenizer().encode(prompt)[1:], others, strict=True):
            text = make_tokenizer().token_text(token_id)
            assert next(iter(entries)) == str(token_id)
            assert entries[str(token_id)] == {"logprob": -0.5, "rank": 1, "decoded_token": text}
            assert len(entries) >= 2 - (token_id == 1)


async def test_more_prompt_logprobs_than_logprobs(server):
    body = (await server.complete(prompt=PROMPT, prompt_logprobs=5, echo=True, logprobs=1, max_tokens=0)).json()
    (choice,) = body["choices"]
    assert len(choice["prompt_logprobs"][1]) == 5
    assert len(choice["logprobs"]["top_logprobs"][1]) == 2


async def test_logprobs_of_named_tokens(server):
    named = make_tokenizer().encode("fox dog", add_special_tokens=False)
    (choice,) = (await server.complete(max_tokens=2, logprobs=0, logprob_token_ids=named)).json()["choices"]
    for token, top in zip(choice["logprobs"]["tokens"], choice["logprobs"]["top_logprobs"], strict=True):
        assert set(top) == {token, *map(make_tokenizer().token_text, named)}


@pytest.mark.parametrize(
    ("fields", "parameter", "message"),
    [
        ({"prompt_logprobs": 0, "stream": True}, "prompt_logprobs", "not available when `stream=True`"),
        ({"prompt_logprobs": 21}, "prompt_logprobs", "prompt logprobs of 21, which is greater than max allowed: 20"),
        ({"prompt_logprobs": -1}, "prompt_logprobs", "must be a positive value"),
        ({"logprob_token_ids": [1]}, "logprob_token_ids", "`logprobs` must be set"),
        ({"logprob_token_ids": [10**6], "logprobs": 1}, "logprob_token_ids", "vocabulary ends at"),
        (
            {"logprob_token_ids": [1], "logprobs": 1, "echo": True, "max_tokens": 0},
            "logprob_token_ids",
            "no tokens are generated",
        ),
        ({"bad_words": [""]}, "bad_words", "must not hold an empty string"),
    ],
)
async def test_what_cannot_be_told_is_refused(server, fields, parameter, message):
    response = await server.complete(**fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == parameter
    assert message in response.json()["error"]["message"]


async def test_special_tokens_around_the_prompt_are_the_request_s_choice(server):
    for adds in (True, False):
        body = (await server.complete(add_special_tokens=adds, return_token_ids=True)).json()
        assert body["choices"][0]["prompt_token_ids"] == make_tokenizer().encode("Hi", add_special_tokens=adds)


@pytest.mark.parametrize(("num_prompts", "n"), [(MAX_ANSWERS + 1, 1), (MAX_ANSWERS // 128 + 1, 128)])
async def test_too_many_answers(server, runner, num_prompts, n):
    response = await server.complete(prompt=[[1]] * num_prompts, n=n, temperature=1)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "prompt")
    assert f"room for {MAX_ANSWERS} answers, n to each prompt, got {num_prompts * n};" in error["message"]
    assert runner.num_steps == 0


async def test_a_wrong_prompt_among_others_starts_none(server, runner):
    response = await server.complete(prompt=[[1, 2], [10**6]], stream=True)
    assert response.status_code == 400
    await until(lambda: server.engine.stats().num_running == 0)


async def test_a_client_of_many_prompts_that_leaves(serve, runner):
    runner.step_seconds = 0.01
    server = await serve()
    client = LeavingClient(server.app, PATH, num_pieces=2, prompt=["a", "b", "c"], max_tokens=100, stream=True)
    await client.run()
    await until(lambda: server.engine.stats().num_running == 0)
    assert server.engine.stats().num_requests_aborted == 3


async def test_an_error_in_one_of_many_prompts_ends_the_stream(serve, runner):
    runner.step_seconds = 0.02
    server = await serve()
    task = asyncio.ensure_future(server.complete_events(prompt=["a", "b"], max_tokens=100))
    await until(lambda: runner.num_steps > 3)
    runner.failure = RuntimeError("out of order")
    *_, error, done = await task
    assert error["error"]["type"] == "InternalServerError"
    assert done == "[DONE]"


BODIES = st.fixed_dictionaries(
    {
        "max_tokens": st.integers(0, 40),
        "prompt": st.lists(st.sampled_from(["Hi", "Ho ho", "a b c"]), min_size=1, max_size=3),
    },
    optional={
        "n": st.integers(1, 3),
        "stop": st.lists(st.sampled_from(["fox", "quick brown", " ", "z"]), max_size=2),
        "logprobs": st.integers(0, 2),
        "stream_interval": st.integers(1, 5),
        "return_token_ids": st.just(True),
        "echo": st.booleans(),
        "bad_words": st.just(["jumps"]),
    },
)


@settings(max_examples=40)
@given(body=BODIES)
def test_the_stream_says_what_the_whole_answer_says(body):
    body["max_tokens"] = body["max_tokens"] or 1 - body.get("echo", False)
    asyncio.run(compare(body))


async def compare(body):
    with make_engine(FakeModelRunner()) as engine:
        app = create_app(engine, ServerSettings())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            server = Server(client, engine, app)
            whole = (await server.complete(**body)).json()
            *chunks, usage, _ = await server.complete_events(stream_options={"include_usage": True}, **body)
            await server.check_idle()
    assert usage["usage"] == whole["usage"]
    for choice in whole["choices"]:
        mine = [part for chunk in chunks for part in chunk["choices"] if part["index"] == choice["index"]]
        assert "".join(part["text"] for part in mine) == choice["text"]
        for name in ("tokens", "token_logprobs", "text_offset", "top_logprobs"):
            said = [entry for part in mine if part["logprobs"] for entry in part["logprobs"][name]]
            assert said == (choice["logprobs"] or {name: []})[name]
        assert [i for part in mine for i in part["token_ids"] or ()] == (choice["token_ids"] or [])
        assert mine[0]["prompt_token_ids"] == choice["prompt_token_ids"]
        assert (mine[-1]["finish_reason"], mine[-1]["stop_reason"]) == (choice["finish_reason"], choice["stop_reason"])
