"""The starter model behind a real server, on a Unix socket, asked by the clients that people use."""

import asyncio
import concurrent.futures

import anthropic
import httpx2
import openai
import pytest

from tests.engine.server.serving import Running
from vllm_local.async_llm import AsyncLLM
from vllm_local.config import STARTER_MODEL_NAME, EngineConfig

NAME = "mosaicml/mpt-7b"
KEY = "the-key"
MESSAGES: list = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def engine():
    with AsyncLLM(EngineConfig(max_model_len=256, max_num_seqs=8, use_tqdm_on_load=False)) as engine:
        yield engine


@pytest.fixture(scope="module")
def uds(engine, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("server") / "s")
    running = Running(engine, uds=path, api_key=KEY, served_model_name=(NAME, STARTER_MODEL_NAME))
    running.start()
    yield path
    running.stop()


@pytest.fixture
def client(uds):
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=uds), timeout=60) as http_client:
        yield openai.OpenAI(base_url="http://server/v1", api_key=KEY, http_client=http_client, max_retries=0)


@pytest.fixture
async def async_client(uds):
    async with httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=uds), timeout=60) as http_client:
        yield openai.AsyncOpenAI(base_url="http://server/v1", api_key=KEY, http_client=http_client, max_retries=0)


def test_chat_is_what_the_engine_says(client, engine):
    answer = client.chat.completions.create(model=NAME, messages=MESSAGES, max_tokens=16, temperature=0)
    params = engine.default_sampling_params(max_tokens=16, temperature=0)
    *_, expected = engine.submit({"prompt_token_ids": engine.render(MESSAGES)}, params)
    assert answer.choices[0].message.content == expected.outputs[0].text != ""
    assert answer.usage.prompt_tokens == len(expected.prompt_token_ids)
    assert answer.model == NAME


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0},
        {"temperature": 1.0, "seed": 7, "n": 3},
        {"temperature": 0, "stop": [" ", "e"]},
        {"temperature": 0.8, "seed": 3, "logprobs": True, "top_logprobs": 3},
        {"temperature": 0, "extra_body": {"stream_interval": 4, "ignore_eos": True}},
    ],
)
def test_the_stream_says_what_the_whole_answer_says(client, more):
    ask = {"model": NAME, "messages": MESSAGES, "max_tokens": 24, **more}
    whole = client.chat.completions.create(**ask)
    chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    for choice in whole.choices:
        mine = [part for chunk in chunks for part in chunk.choices if part.index == choice.index]
        assert "".join(part.delta.content or "" for part in mine) == choice.message.content
        assert mine[-1].finish_reason == choice.finish_reason
        streamed = [entry for part in mine if part.logprobs for entry in part.logprobs.content]
        expected = choice.logprobs.content if choice.logprobs else []
        assert [entry.token for entry in streamed] == [entry.token for entry in expected]
        assert [entry.logprob for entry in streamed] == pytest.approx([entry.logprob for entry in expected], abs=1e-5)
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_completions(client):
    whole = client.completions.create(model=NAME, prompt="Hello", max_tokens=5, temperature=0, logprobs=2, echo=False)
    assert len(whole.choices[0].logprobs.tokens) == whole.usage.completion_tokens
    stream = client.completions.create(model=NAME, prompt="Hello", max_tokens=5, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text


def test_prompts_are_scored_as_evaluation_harnesses_ask_for_it(client, engine):
    """lm-eval's request: context and continuation as tokens, echoed, of which it sums up the continuation's part."""
    encode = engine.tokenizer.encode
    questions = [("The capital of France is", " Paris."), ("The capital of France is", " Berlin."), ("Hello", " there")]
    prompts = [[*encode(context), *encode(rest, add_special_tokens=False)] for context, rest in questions]
    for max_tokens in (0, 1):
        body = client.completions.create(
            model=NAME, prompt=prompts, max_tokens=max_tokens, logprobs=1, echo=True, temperature=0, seed=1234
        )
        assert [choice.index for choice in body.choices] == [0, 1, 2]
        for (context, rest), token_ids, choice in zip(questions, prompts, body.choices, strict=True):
            end = len(token_ids)
            logprobs = choice.logprobs
            assert len(logprobs.token_logprobs) == end + max_tokens
            assert choice.text.startswith(context + rest)
            params = engine.default_sampling_params(max_tokens=1, prompt_logprobs=1)
            *_, expected = engine.submit({"prompt_token_ids": token_ids}, params)
            for index in range(len(encode(context)), end):
                known = expected.prompt_logprobs[index]
                assert logprobs.token_logprobs[index] == pytest.approx(known[token_ids[index]].logprob, abs=1e-3)
                best = max(logprobs.top_logprobs[index], key=logprobs.top_logprobs[index].get)
                assert (best == logprobs.tokens[index]) == (known[token_ids[index]].rank == 1)


def test_bad_words_are_not_written(client):
    question: list = [{"role": "user", "content": "What is the capital of France?"}]
    plain = client.chat.completions.create(model=NAME, messages=question, temperature=0, max_tokens=24)
    assert "Paris" in plain.choices[0].message.content
    for stream in (False, True):
        found = client.chat.completions.create(
            model=NAME,
            messages=question,
            temperature=0,
            max_tokens=24,
            stream=stream,
            extra_body={"bad_words": ["Paris"]},
        )
        texts = (
            [chunk.choices[0].delta.content or "" for chunk in found] if stream else [found.choices[0].message.content]
        )
        assert "".join(texts)
        assert "Paris" not in "".join(texts)


def test_many_callers_at_once(client):
    def ask(index):
        return client.chat.completions.create(model=NAME, messages=MESSAGES, max_tokens=8, temperature=0, stop=None)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(32)))
    assert len({answer.choices[0].message.content for answer in answers}) == 1


async def test_async_callers_some_of_whom_leave(async_client, engine):
    async def ask(index):
        stream = await async_client.chat.completions.create(
            model=NAME, messages=MESSAGES, max_tokens=64, stream=True, extra_body={"ignore_eos": True}
        )
        async with stream:
            count = 0
            async for _ in stream:
                count += 1
                if index % 3 == 0 and count == 3:
                    return None
            return count

    counts = await asyncio.gather(*(ask(index) for index in range(12)))
    assert [count is None for count in counts] == [index % 3 == 0 for index in range(12)]
    for _ in range(1000):
        if engine.stats().num_running == engine.stats().num_waiting == 0:
            break
        await asyncio.sleep(0.01)
    assert engine.stats().kv_cache_usage == 0
    engine.check_integrity()


def test_models_and_responses(client):
    assert [model.id for model in client.models.list()] == [NAME, STARTER_MODEL_NAME]
    response = client.responses.create(model=NAME, input="Hello!", max_output_tokens=16, temperature=0)
    answer = client.chat.completions.create(model=NAME, messages=MESSAGES, max_tokens=16, temperature=0)
    assert response.output_text == answer.choices[0].message.content


def test_anthropic_s_client(client, uds):
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=uds), timeout=60) as http_client:
        theirs = anthropic.Anthropic(base_url="http://server", api_key=KEY, http_client=http_client, max_retries=0)
        message = theirs.messages.create(model=NAME, messages=MESSAGES, max_tokens=16, extra_body={"temperature": 0})
    answer = client.chat.completions.create(model=NAME, messages=MESSAGES, max_tokens=16, temperature=0)
    assert message.content[0].model_dump()["text"] == answer.choices[0].message.content


def test_errors(client):
    with pytest.raises(openai.BadRequestError, match="maximum context length is 256 tokens"):
        client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "long " * 1000}], stream=True)
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
