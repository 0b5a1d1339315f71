"""Structured output from end to end, on the starter model: the engine alone, no chat layer."""

import json
import re
from typing import Any

import jsonschema
import pytest

from vllm_local import LLM, SamplingParams
from vllm_local.errors import InvalidRequestError
from vllm_local.structured_outputs_params import StructuredOutputsParams as Form

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
}
PROMPTS = ["Hello!", "Fill in the form for Ada, who is 36.", "{"]


@pytest.fixture(scope="module")
def llm():
    # A run of forced tokens is computed in one step; in bfloat16 its rounding may turn a close decision behind it.
    return LLM(max_model_len=512, kv_cache_memory_bytes=2**26, dtype="float32")


def answers(llm, prompts=PROMPTS, max_tokens=100, **params):
    outputs = llm.generate(prompts, SamplingParams(max_tokens=max_tokens, **params), use_tqdm=False)
    return [answer for output in outputs for answer in output.outputs]


@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("max_tokens", [40, 100])
def test_json_is_valid_at_any_temperature_and_budget(llm, temperature, max_tokens):
    found = answers(llm, max_tokens=max_tokens, temperature=temperature, seed=1, structured_outputs=Form(json=PERSON))
    for answer in found:
        jsonschema.validate(json.loads(answer.text), PERSON)
        assert answer.finish_reason == "stop"


def test_other_kinds(llm):
    for answer in answers(llm, structured_outputs=Form(regex=r"\d{3}-[a-c]+x"), temperature=1.0):
        assert re.fullmatch(r"\d{3}-[a-c]+x", answer.text)
    assert {answer.text for answer in answers(llm, structured_outputs=Form(choice=["ja", "nein", "Zürich 東京"]))} <= {
        "ja",
        "nein",
        "Zürich 東京",
    }
    for answer in answers(llm, structured_outputs=Form(json_object=True), temperature=1.0):
        assert isinstance(json.loads(answer.text), dict)
    grammar = 'start: "(" start ")" | "x"'
    for answer in answers(llm, structured_outputs=Form(grammar=grammar), temperature=1.0):
        assert re.fullmatch(r"\(*x\)*", answer.text)
        assert answer.text.count("(") == answer.text.count(")")


def test_answers_with_and_without_a_grammar_share_a_batch(llm):
    free = SamplingParams(max_tokens=20, temperature=0)
    bound = SamplingParams(max_tokens=60, temperature=0, structured_outputs=Form(json=PERSON))
    (alone,) = llm.generate([PROMPTS[0]], free, use_tqdm=False)
    together = llm.generate([PROMPTS[0]] * 4, [free, bound, free, bound], use_tqdm=False)
    assert [output.outputs[0].text for output in together[::2]] == [alone.outputs[0].text] * 2
    for output in together[1::2]:
        jsonschema.validate(json.loads(output.outputs[0].text), PERSON)


def test_forced_tokens_change_nothing_but_the_number_of_steps(llm):
    # A name that must end, so that it is not the answer's budget that ends it.
    short = {**PERSON, "properties": {**PERSON["properties"], "name": {"type": "string", "maxLength": 9}}}
    forced = answers(llm, temperature=0, structured_outputs=Form(json=short))
    sampled = answers(llm, temperature=0, logprobs=0, structured_outputs=Form(json=short))
    assert [answer.text for answer in forced] == [answer.text for answer in sampled]
    assert all(len(answer.logprobs) == len(answer.token_ids) for answer in sampled)


def test_several_answers_have_a_grammar_each(llm):
    found = answers(llm, PROMPTS[:1], n=4, temperature=2.0, seed=3, structured_outputs=Form(json=PERSON))
    assert len({answer.text for answer in found}) > 1
    for answer in found:
        jsonschema.validate(json.loads(answer.text), PERSON)


@pytest.mark.parametrize(
    ("structured", "parameter"),
    [
        ({"regex": "(("}, "structured_outputs.regex"),
        ({"grammar": "start: nowhere"}, "structured_outputs.grammar"),
        ({"json": {"type": "string", "not": {"const": "a"}}}, "structured_outputs.json"),
    ],
)
def test_what_cannot_be_compiled_is_the_callers_fault(llm, structured, parameter):
    with pytest.raises(InvalidRequestError) as caught:
        answers(llm, structured_outputs=Form(**structured))
    assert caught.value.parameter == parameter
    assert len(answers(llm, PROMPTS[:1], max_tokens=3)) == 1


def test_a_grammar_says_itself_where_to_end(llm):
    with pytest.raises(InvalidRequestError, match="min_tokens=5"):
        answers(llm, min_tokens=5, structured_outputs=Form(json=PERSON))
    (answer,) = answers(llm, PROMPTS[:1], ignore_eos=True, structured_outputs=Form(choice=["yes", "no"]))
    assert answer.finish_reason == "stop"
