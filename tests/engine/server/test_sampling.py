import pytest

from tests.engine.engine_fakes import make_engine
from tests.engine.server.rig import MESSAGES
from vllm_local.errors import InvalidRequestError
from vllm_local.sampling_params import RequestOutputKind
from vllm_local.server.protocol.chat import ChatCompletionRequest
from vllm_local.server.protocol.completions import CompletionRequest
from vllm_local.server.sampling import chat_sampling_params, completion_sampling_params, num_listed
from vllm_local.server.settings import ServerSettings

FIELDS = {
    "n": 3,
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.1,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "repetition_penalty": 1.1,
    "seed": 7,
    "stop": ["a", "b"],
    "stop_token_ids": [3],
    "include_stop_str_in_output": True,
    "ignore_eos": True,
    "min_tokens": 2,
    "logit_bias": {"5": 1.5},
    "allowed_token_ids": [1, 2],
    "skip_special_tokens": False,
    "bad_words": ["fox"],
    "prompt_logprobs": 2,
}
EXPECTED = {
    "bad_words": ("fox",),
    "stop": ("a", "b"),
    "stop_token_ids": (3,),
    "logit_bias": {5: 1.5},
    "allowed_token_ids": (1, 2),
}


@pytest.fixture(scope="module")
def engine():
    with make_engine(defaults={"temperature": 0.3, "top_k": 5}) as engine:
        yield engine


def chat(engine, settings=None, **fields):
    return chat_sampling_params(
        ChatCompletionRequest(messages=MESSAGES, **fields), engine, settings or ServerSettings()
    )


def complete(engine, settings=None, **fields):
    return completion_sampling_params(CompletionRequest(prompt="Hi", **fields), engine, settings or ServerSettings())


@pytest.mark.parametrize("make", [chat, complete])
@pytest.mark.parametrize("name", FIELDS)
def test_every_field_arrives(engine, make, name):
    params = make(engine, **{name: FIELDS[name]})
    assert getattr(params, name) == EXPECTED.get(name, FIELDS[name])
    assert params.output_kind is RequestOutputKind.DELTA


@pytest.mark.parametrize("make", [chat, complete])
def test_the_model_s_defaults_hold_where_nothing_is_said(engine, make):
    params = make(engine, **dict.fromkeys(FIELDS))
    assert (params.temperature, params.top_k, params.n) == (0.3, 5, 1)


def test_max_tokens(engine):
    assert chat(engine).max_tokens is None
    assert chat(engine, max_tokens=3).max_tokens == 3
    assert chat(engine, max_tokens=3, max_completion_tokens=4).max_tokens == 4
    assert complete(engine).max_tokens == 16
    assert complete(engine, max_tokens=None).max_tokens is None


def test_logprobs(engine):
    assert chat(engine).logprobs is None
    assert chat(engine, logprobs=False, top_logprobs=0).logprobs is None
    assert chat(engine, logprobs=True).logprobs == 0
    assert chat(engine, logprobs=True, top_logprobs=20).logprobs == 20
    assert complete(engine).logprobs is None
    assert complete(engine, logprobs=0).logprobs == 0


@pytest.mark.parametrize("make", [chat, complete])
def test_named_tokens_take_the_place_of_the_best(engine, make):
    params = make(engine, logprobs=True, logprob_token_ids=[3, 5])
    assert (params.logprobs, params.logprob_token_ids) == (None, (3, 5))
    assert num_listed(params) == 3
    params = make(engine, logprobs=True, logprob_token_ids=[])
    assert (params.logprob_token_ids, num_listed(params)) == (None, params.logprobs)


def test_echo_describes_the_prompt_where_logprobs_are_told(engine):
    assert complete(engine, echo=True, logprobs=3).prompt_logprobs == 3
    assert complete(engine, echo=True, logprobs=3, stream=True).prompt_logprobs == 3
    assert complete(engine, echo=True, logprobs=3, prompt_logprobs=1).prompt_logprobs == 1
    assert complete(engine, echo=True).prompt_logprobs is None
    assert complete(engine, logprobs=3).prompt_logprobs is None
    assert chat(engine, echo=True, logprobs=True, top_logprobs=3).prompt_logprobs is None


@pytest.mark.parametrize(
    ("make", "fields", "match", "parameter"),
    [
        (chat, {"top_logprobs": 2}, "when using `top_logprobs`, `logprobs` must be set to true", "top_logprobs"),
        (chat, {"logprobs": True, "top_logprobs": 25}, "of 25, which is greater than max allowed: 20", "top_logprobs"),
        (chat, {"logprobs": True, "top_logprobs": -2}, "must be a positive value", "top_logprobs"),
        (complete, {"logprobs": 25}, "of 25, which is greater than max allowed: 20", "logprobs"),
        (complete, {"logprobs": -1}, "must be a positive value", "logprobs"),
        (chat, {"logprob_token_ids": [1]}, "`logprobs` must be set to true", "logprob_token_ids"),
        (chat, {"prompt_logprobs": 21}, "prompt logprobs of 21, which is greater than", "prompt_logprobs"),
        (chat, {"prompt_logprobs": 1, "stream": True}, "not available when `stream=True`", "prompt_logprobs"),
        (chat, {"max_tokens": 0}, "max_tokens must be at least 1, got 0", "max_tokens"),
        (chat, {"n": 2, "temperature": 0}, "n must be 1 when using greedy sampling", "n"),
    ],
)
def test_what_is_wrong_is_said(engine, make, fields, match, parameter):
    with pytest.raises(InvalidRequestError, match=match) as caught:
        make(engine, **fields)
    assert caught.value.parameter == parameter


def test_a_server_may_allow_fewer_logprobs(engine):
    with pytest.raises(InvalidRequestError, match="greater than max allowed: 3"):
        chat(engine, ServerSettings(max_logprobs=3), logprobs=True, top_logprobs=4)
