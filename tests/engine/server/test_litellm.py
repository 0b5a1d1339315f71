"""LiteLLM's provider for vLLM, `hosted_vllm/`, on our server."""

import pytest

pytestmark = [pytest.mark.enable_socket, pytest.mark.filterwarnings("ignore")]  # warnings of its own making

MESSAGES = [{"role": "user", "content": "Hello!"}]


@pytest.fixture
def litellm():
    return pytest.importorskip("litellm", reason="needs the extra `clients`")


@pytest.fixture
def ask(inference_server_url, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "localhost")
    return {
        "model": "hosted_vllm/mosaicml/mpt-7b",
        "api_base": inference_server_url,
        "api_key": "EMPTY",
        "messages": MESSAGES,
        "max_tokens": 12,
        "temperature": 0,
    }


def test_whole_answers_and_streams_say_the_same(litellm, ask):
    whole = litellm.completion(**ask)
    text = whole.choices[0].message.content
    assert text
    assert whole.usage.completion_tokens > 0
    chunks = list(litellm.completion(**ask, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


async def test_async_calls(litellm, ask):
    whole = litellm.completion(**ask)
    answer = await litellm.acompletion(**ask)
    assert answer.choices[0].message.content == whole.choices[0].message.content


def test_vllm_s_own_parameters_pass_through(litellm, ask):
    answer = litellm.completion(**ask, top_k=1, extra_body={"return_token_ids": True})
    assert answer.choices[0].message.content == litellm.completion(**ask).choices[0].message.content


def test_errors_keep_their_class(litellm, ask):
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(**{**ask, "messages": [{"role": "user", "content": "long " * 1000}]})
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(**{**ask, "model": "hosted_vllm/nope"})
    with pytest.raises(litellm.BadRequestError, match="temperature"):
        litellm.completion(**{**ask, "temperature": 3})
