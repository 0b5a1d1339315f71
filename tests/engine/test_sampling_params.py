"""Sampling parameters: one form, checked bounds, vLLM's defaults."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_local.errors import InvalidRequestError
from vllm_local.sampling_params import SAMPLING_PARAM_NAMES, SamplingParams


def test_defaults_are_those_of_vllm() -> None:
    params = SamplingParams()
    assert (params.n, params.temperature, params.top_p, params.top_k, params.min_p) == (1, 1.0, 1.0, 0, 0.0)
    assert (params.max_tokens, params.min_tokens, params.logprobs, params.seed) == (16, 0, None, None)
    assert (params.prompt_logprobs, params.logprob_token_ids, params.bad_words) == (None, None, ())
    assert (params.presence_penalty, params.frequency_penalty, params.repetition_penalty) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", -1, "temperature must be non-negative, got -1"),
        ("temperature", 2.5, r"temperature must be in \[0, 2\]"),
        ("temperature", "hot", "temperature must be a number"),
        ("temperature", float("nan"), "temperature must be finite"),
        ("temperature", None, "temperature must be a number"),
        ("top_p", 0, r"top_p must be in \(0, 1\]"),
        ("top_p", 1.5, r"top_p must be in \(0, 1\]"),
        ("top_k", -2, "top_k must be 0 or -1"),
        ("top_k", 1.5, "top_k must be an integer"),
        ("min_p", 1.1, r"min_p must be in \[0, 1\]"),
        ("presence_penalty", 3, r"presence_penalty must be in \[-2, 2\]"),
        ("frequency_penalty", -3, r"frequency_penalty must be in \[-2, 2\]"),
        ("temperature", 10**400, r"temperature must be in \[0, 2\]"),
        ("repetition_penalty", 0, r"repetition_penalty must be in \[0.01, 100\]"),
        ("repetition_penalty", 1e300, r"repetition_penalty must be in \[0.01, 100\]"),
        ("max_tokens", 0, "max_tokens must be at least 1, got 0"),
        ("max_tokens", -5, "max_tokens must be at least 1"),
        ("max_tokens", True, "max_tokens must be a number"),
        ("min_tokens", -1, "min_tokens must be at least 0"),
        ("n", 0, "n must be between 1 and"),
        ("n", 1000, "n must be between 1 and"),
        ("logprobs", 21, "logprobs must be between 0 and 20"),
        ("prompt_logprobs", 21, "prompt_logprobs must be between 0 and 20"),
        ("prompt_logprobs", -1, "prompt_logprobs must be between 0 and 20"),
        ("prompt_logprobs", True, "prompt_logprobs must be a number"),
        ("logprob_token_ids", [-1], "logprob_token_ids must be a list of token ids"),
        ("logprob_token_ids", 5, "logprob_token_ids must be a list of token ids"),
        ("logprob_token_ids", range(129), "logprob_token_ids takes at most 128 token ids, got 129"),
        ("bad_words", "fox", "bad_words must be a list of strings, got 'fox'"),
        ("bad_words", 3, "bad_words must be a list of strings"),
        ("bad_words", ["fox", 3], "bad_words must be a list of strings"),
        ("bad_words", ["fox", " "], "bad_words must not hold an empty string"),
        ("bad_words", [str(number) for number in range(1025)], "bad_words takes at most 1024 words"),
        ("bad_words", ["x" * 1025], "bad_words takes at most 1024 words of at most 1024 characters"),
        ("seed", 10**400, "seed must fit in 64 bits"),
        ("seed", 2**63, "seed must fit in 64 bits"),
        ("stop", 3, "stop must be a string or a list of strings"),
        ("stop", ["a", 3], "stop must be a string or a list of strings"),
        ("stop", [""], "stop must not hold an empty string"),
        ("stop", ["x"] * 17, "stop takes at most 16 strings"),
        ("stop", ["x" * 1025], "stop takes at most 16 strings of at most 1024 characters"),
        ("stop_token_ids", [-1], "stop_token_ids must be a list of token ids"),
        ("stop_token_ids", 5, "stop_token_ids must be a list of token ids"),
        ("allowed_token_ids", 5, "allowed_token_ids must be a list of token ids"),
        ("allowed_token_ids", [], "allowed_token_ids must not be empty"),
        ("logit_bias", {"a": 1}, "logit_bias must map token ids to numbers"),
        ("logit_bias", {1: 101}, "logit_bias must map token ids"),
        ("logit_bias", {1.5: 1}, "logit_bias must map token ids to numbers"),
        ("logit_bias", {float("inf"): 1}, "logit_bias must map token ids to numbers"),
        ("logit_bias", {1: 10**400}, "logit_bias must map token ids to numbers"),
        ("logit_bias", [1], "logit_bias must map token ids to numbers"),
        ("ignore_eos", "no", "ignore_eos must be True or False, got 'no'"),
        ("skip_special_tokens", None, "skip_special_tokens must be True or False"),
        ("output_kind", "delta", "output_kind must be a RequestOutputKind, got 'delta'"),
        ("structured_outputs", "json", "structured_outputs must be StructuredOutputsParams or a mapping"),
    ],
)
def test_bad_values_are_refused_by_name(name: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        SamplingParams(**{name: value})
    assert caught.value.parameter == name


@pytest.mark.parametrize("name", ["top_k", "max_tokens"])
def test_a_limit_beyond_every_float_is_a_limit(name: str) -> None:
    params = SamplingParams(**{name: 10**400})  # type: ignore[arg-type]
    assert getattr(params, name) == 10**400


def test_values_at_odds_with_each_other_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="n must be 1 when using greedy sampling"):
        SamplingParams(n=2, temperature=0)
    with pytest.raises(InvalidRequestError, match="logprobs=3 with 2 logprob_token_ids: leave logprobs out"):
        SamplingParams(logprobs=3, logprob_token_ids=[1, 2])
    with pytest.raises(InvalidRequestError, match="min_tokens must not exceed max_tokens=4"):
        SamplingParams(min_tokens=5, max_tokens=4)


def test_fields_come_to_one_form() -> None:
    params = SamplingParams(stop="a", top_k=-1, logit_bias={"7": 1}, stop_token_ids=[3])  # type: ignore[dict-item]
    assert params.stop_strings == ("a",)
    assert params.top_k == 0
    assert params.logit_bias == {7: 1.0}
    assert params.stop_token_ids == (3,)
    assert SamplingParams(stop=None).stop_strings == ()  # type: ignore[arg-type]
    assert SamplingParams(bad_words=["a", "b", "a"]).bad_words == ("a", "b")
    assert SamplingParams(bad_words=None).bad_words == ()  # type: ignore[arg-type]
    assert SamplingParams(logprob_token_ids=[3, 1, 3]).logprob_token_ids == (3, 1)
    assert SamplingParams(logprob_token_ids=[]).logprob_token_ids is None


def test_who_gets_logprobs() -> None:
    assert not SamplingParams(prompt_logprobs=1).reports_logprobs
    assert SamplingParams(logprobs=0).reports_logprobs
    assert SamplingParams(logprob_token_ids=[1]).reports_logprobs
    assert SamplingParams(logprobs=2, logprob_token_ids=[1, 2]).reports_logprobs


@pytest.mark.parametrize("name", ["logit_bias", "stop_token_ids", "allowed_token_ids", "logprob_token_ids"])
def test_token_ids_outside_the_vocabulary_are_refused(name: str) -> None:
    params = SamplingParams(**{name: {100: 1.0} if name == "logit_bias" else [100]})  # type: ignore[arg-type]
    params.validate_for(vocab_size=101, max_model_len=64)
    with pytest.raises(InvalidRequestError, match=f"{name} holds token id 100.*ends at 99"):
        params.validate_for(vocab_size=100, max_model_len=64)


def test_max_tokens_beyond_the_context_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="max_tokens=65 cannot be greater than max_model_len=64"):
        SamplingParams(max_tokens=65).validate_for(vocab_size=10, max_model_len=64)


def test_every_field_is_named_and_documented() -> None:
    assert SamplingParams.__doc__ is not None
    for name in SAMPLING_PARAM_NAMES:
        assert f"    {name}: " in SamplingParams.__doc__
