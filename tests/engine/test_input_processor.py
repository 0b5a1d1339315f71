import dataclasses

import pytest

from tests.engine.engine_fakes import make_loaded
from vllm_local.errors import ContextLengthError, InvalidRequestError, UnsupportedInputError
from vllm_local.input_processor import InputProcessor
from vllm_local.sampling_params import SamplingParams

PARAMS = SamplingParams(max_tokens=4)


def make_processor(**kwargs):
    loaded = make_loaded(**kwargs)
    return InputProcessor(loaded.config, loaded.tokenizer), loaded.tokenizer


@pytest.fixture(scope="module")
def processor():
    return make_processor()[0]


def prepare(processor, prompt="Hello", params=PARAMS, **kwargs):
    return processor.prepare(prompt, params, **kwargs).requests


def test_every_kind_of_prompt():
    processor, tokenizer = make_processor()
    token_ids = tokenizer.encode("Hello")
    for prompt in ("Hello", token_ids, tuple(token_ids), {"prompt": "Hello"}, {"prompt_token_ids": token_ids}):
        (request,) = prepare(processor, prompt)
        assert request.prompt_token_ids == token_ids
        assert request.eos_token_ids == tokenizer.eos_token_ids
    both = processor.prepare({"prompt": "shown", "prompt_token_ids": token_ids}, PARAMS)
    assert both.requests[0].prompt_token_ids == token_ids


@pytest.mark.parametrize(
    ("prompt", "match"),
    [
        ("", "cannot be empty"),
        ([], "cannot be empty"),
        (3, "must be a text, a list of token ids, or a dict"),
        (b"Hello", "got bytes"),
        ({}, "needs 'prompt' or 'prompt_token_ids'"),
        ({"prompt": 3}, "'prompt' must be a text"),
        ({"prompt_token_ids": "Hello"}, "must be a list of integers"),
        ([1, 10**6], "Token id 1000000 is out of vocabulary, whose ids go from 0 to"),
        ([-1], "Token id -1 is out of vocabulary"),
        ([1, "2"], "must be integers, got '2'"),
        ([True], "must be integers, got True"),
    ],
)
def test_bad_prompts(processor, prompt, match):
    with pytest.raises(InvalidRequestError, match=match):
        prepare(processor, prompt)


def test_a_tokenizer_with_more_tokens_than_the_model_has_rows():
    loaded = make_loaded()
    tokenizer, num_rows = loaded.tokenizer, loaded.tokenizer.encode("x")[0]
    config = dataclasses.replace(loaded.config, model=dataclasses.replace(loaded.config.model, vocab_size=num_rows))
    processor = InputProcessor(config, tokenizer)
    with pytest.raises(InvalidRequestError, match=rf"reads token {num_rows} \('x'\) .* ends at {num_rows - 1}"):
        prepare(processor, "x")
    assert prepare(processor, [num_rows - 1])


def test_end_tokens_without_a_row_are_no_end_tokens(monkeypatch):
    loaded = make_loaded()
    known = loaded.tokenizer.eos_token_ids
    monkeypatch.setattr(loaded.tokenizer, "eos_token_ids", known | {10**9})
    assert prepare(InputProcessor(loaded.config, loaded.tokenizer))[0].eos_token_ids == known


def test_end_tokens_alone_cannot_fill_an_answer(processor):
    params = SamplingParams(allowed_token_ids=[3], stop_token_ids=[3], min_tokens=1)
    with pytest.raises(InvalidRequestError, match="nothing but end tokens, which min_tokens=1 forbids"):
        prepare(processor, params=params)
    assert prepare(processor, params=dataclasses.replace(params, allowed_token_ids=[3, 4]))


def test_media_in_a_prompt(processor):
    with pytest.raises(UnsupportedInputError, match="'multi_modal_data' is not supported"):
        prepare(processor, {"prompt": "x", "multi_modal_data": {"image": 1}})


@pytest.mark.parametrize(
    ("kwargs", "parameter"),
    [
        ({"request_id": ""}, "request_id"),
        ({"request_id": 3}, "request_id"),
        ({"priority": "high"}, "priority"),
        ({"priority": True}, "priority"),
        ({"cache_salt": ""}, "cache_salt"),
        ({"cache_salt": 3}, "cache_salt"),
        ({"params": SamplingParams(stop_token_ids=[10**6])}, "stop_token_ids"),
        ({"params": SamplingParams(max_tokens=1000)}, "max_tokens"),
    ],
)
def test_bad_arguments(processor, kwargs, parameter):
    with pytest.raises(InvalidRequestError) as caught:
        prepare(processor, **kwargs)
    assert caught.value.parameter == parameter


def test_parameters_of_another_type(processor):
    with pytest.raises(InvalidRequestError, match="must be SamplingParams, got dict"):
        prepare(processor, params={"max_tokens": 3})


def test_a_prompt_that_leaves_no_room(processor):
    assert prepare(processor, [1] * 127)[0].max_tokens == 1
    with pytest.raises(ContextLengthError) as caught:
        prepare(processor, [1] * 128)
    assert (caught.value.num_prompt_tokens, caught.value.max_model_len) == (128, 128)


def test_a_small_kv_cache_bounds_the_context():
    with pytest.raises(ContextLengthError):
        prepare(make_processor(num_blocks=4)[0], [1] * 16)


def test_max_tokens_is_cut_to_the_room_that_is_left(processor):
    prompt = [1] * 100
    assert prepare(processor, prompt, SamplingParams(max_tokens=28))[0].max_tokens == 28
    assert prepare(processor, prompt, SamplingParams(max_tokens=29))[0].max_tokens == 28
    assert prepare(processor, prompt, SamplingParams(max_tokens=None))[0].max_tokens == 28
    cut = prepare(processor, prompt, SamplingParams(max_tokens=60, min_tokens=50))[0].sampling_params
    assert (cut.max_tokens, cut.min_tokens) == (28, 28)


def test_n_answers_are_n_requests_of_one_prompt(processor):
    prepared = processor.prepare("Hello", SamplingParams(n=3), request_id="mine", priority=-2)
    assert [request.choice_index for request in prepared.requests] == [0, 1, 2]
    assert len({request.request_id for request in prepared.requests}) == 3
    assert len({request.seed for request in prepared.requests}) == 1
    assert {request.priority for request in prepared.requests} == {-2}
    assert prepared.collector.request_id == "mine"
    assert prepared.collector.choice_ids == [request.request_id for request in prepared.requests]


def test_ids_are_never_used_twice(processor):
    first, second = (prepare(processor, request_id="mine")[0].request_id for _ in range(2))
    assert first != second
    names = {processor.prepare("x", PARAMS).collector.request_id for _ in range(3)}
    assert len(names) == 3


def test_prefix_keys(processor):
    assert prepare(processor)[0].prefix_keys == ()
    assert prepare(processor, cache_salt="s")[0].prefix_keys == ("s",)
    assert prepare(processor, {"prompt": "x", "cache_salt": "t"})[0].prefix_keys == ("t",)


def test_prefix_keys_without_prefix_caching():
    processor, _ = make_processor(enable_prefix_caching=False)
    assert prepare(processor, cache_salt="s")[0].prefix_keys is None
    keys = [request.prefix_keys for request in prepare(processor, params=SamplingParams(n=2))]
    other = prepare(processor, params=SamplingParams(n=2))[0].prefix_keys
    assert keys[0] == keys[1] != other
    assert keys[0]


def test_seeds():
    given = SamplingParams(seed=7)
    processor, _ = make_processor(seed=1)
    again, _ = make_processor(seed=1)
    assert prepare(processor, params=given)[0].seed == prepare(again, params=given)[0].seed == 7
    stream = [prepare(processor)[0].seed for _ in range(3)]
    assert stream == [prepare(again)[0].seed for _ in range(3)]
    assert len(set(stream)) == 3
    unseeded, _ = make_processor()
    assert len({prepare(unseeded)[0].seed for _ in range(3)} | set(stream)) == 6


def encoded(processor, words):
    (request,) = prepare(processor, params=SamplingParams(bad_words=words))
    return [list(token_ids) for token_ids in request.bad_words_token_ids]


def test_bad_words_are_forbidden_with_and_without_a_space():
    processor, tokenizer = make_processor()
    plain, spaced = (tokenizer.encode(text, add_special_tokens=False) for text in ("dog", " dog"))
    assert spaced[-len(plain) :] != plain
    assert encoded(processor, ["dog"]) == encoded(processor, ["  dog"]) == [plain, spaced]
    both = tokenizer.encode("lazy dog", add_special_tokens=False)
    assert both in encoded(processor, ["fox", "lazy dog"])
    assert encoded(processor, []) == []


def test_a_space_that_is_a_token_of_its_own_adds_no_word(monkeypatch):
    processor, tokenizer = make_processor()
    forms = {"fox": [7, 8], " fox": [3, 7, 8]}
    monkeypatch.setattr(tokenizer, "encode", lambda text, add_special_tokens=True: forms.get(text, [1]))
    assert encoded(processor, ["fox"]) == [[7, 8]]
    forms[" fox"] = [9]
    assert encoded(processor, ["fox"]) == [[7, 8], [9]]
    forms[" fox"] = []
    assert encoded(processor, ["fox"]) == [[7, 8]]


def test_bad_words_that_the_model_has_no_tokens_for(monkeypatch):
    processor, tokenizer = make_processor()
    forms = {"fox": [], " fox": [], "dog": [10**6]}
    monkeypatch.setattr(tokenizer, "encode", lambda text, add_special_tokens=True: forms.get(text, [1]))
    with pytest.raises(InvalidRequestError, match="'fox', which the model's tokenizer makes no token of"):
        encoded(processor, ["fox"])
    with pytest.raises(InvalidRequestError, match="'dog', whose token 1000000 the model does not have"):
        encoded(processor, ["dog"])


def test_the_first_of_n_answers_is_to_describe_the_prompt(processor):
    requests = prepare(processor, params=SamplingParams(n=3, prompt_logprobs=1))
    assert [request.prompt_logprobs for request in requests] == [[], None, None]
    assert prepare(processor)[0].prompt_logprobs is None
