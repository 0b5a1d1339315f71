"""OpenAI's own client on the server: chat, completions, streams, models, errors."""

import openai
import pytest

from tests.engine.engine_fakes import ANSWER
from tests.engine.server.rig import MESSAGES

NAME = "vllm-local-starter"


async def test_chat(server):
    client = server.openai()
    whole = await client.chat.completions.create(
        model=NAME, messages=MESSAGES, max_tokens=8, logprobs=True, top_logprobs=2
    )
    assert whole.choices[0].message.role == "assistant"
    assert len(whole.choices[0].logprobs.content) == 8
    stream = await client.chat.completions.create(
        model=NAME, messages=MESSAGES, max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == whole.choices[0].message.content
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


async def test_the_streaming_helper_joins_what_it_gets(server):
    async with server.openai().chat.completions.stream(model=NAME, messages=MESSAGES, stop="lazy") as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == ANSWER.split("lazy")[0]


async def test_completions(server):
    client = server.openai()
    whole = await client.completions.create(model=NAME, prompt=["Hi", "Ho"], max_tokens=4, logprobs=1)
    assert len(whole.choices) == 2
    assert len(whole.choices[0].logprobs.tokens) == 4
    stream = await client.completions.create(model=NAME, prompt="Hi", max_tokens=4, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == whole.choices[0].text


async def test_vllm_s_own_parameters(server):
    body = {"top_k": 3, "min_p": 0.1, "stop_token_ids": [], "return_token_ids": True}
    answer = await server.openai().chat.completions.create(model=NAME, messages=MESSAGES, stop=["fox"], extra_body=body)
    assert answer.choices[0].message.content == ANSWER.split("fox")[0]
    assert answer.choices[0].model_extra["stop_reason"] == "fox"


async def test_models(server):
    client = server.openai()
    assert [model.id async for model in client.models.list()] == [NAME]
    assert (await client.models.retrieve(NAME)).model_extra["max_model_len"] == 128


async def test_errors(serve):
    server = await serve({"api_key": ("EMPTY",)})
    client = server.openai()
    with pytest.raises(openai.NotFoundError, match="Valid aliases"):
        await client.chat.completions.create(model="nope", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="temperature must be in") as caught:
        await client.chat.completions.create(model=NAME, messages=MESSAGES, temperature=3)
    assert (caught.value.param, caught.value.status_code, caught.value.type) == ("temperature", 400, "BadRequestError")
    with pytest.raises(openai.BadRequestError, match="does not support Embeddings"):
        await client.embeddings.create(model=NAME, input="Hi")
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="wrong").models.list()


async def test_an_error_in_mid_stream_reaches_the_reader(serve, runner):
    def fail_later(tokens, num_prompt_tokens, choice_index):
        return 5 if len(tokens) < num_prompt_tokens + 3 else 1 // 0

    runner.rule, runner.step_seconds = fail_later, 0.02
    server = await serve()
    stream = await server.openai().chat.completions.create(model=NAME, messages=MESSAGES, max_tokens=9, stream=True)
    with pytest.raises(openai.APIError, match="by zero"):
        async for _ in stream:
            pass
