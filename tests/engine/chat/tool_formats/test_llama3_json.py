"""A bare object."""

import pytest

from tests.engine.chat.answers import allows, ask, said
from vllm_local.chat.tool_formats.llama3_json import Llama3Json
from vllm_local.grammar_spec import Json

LLAMA = Llama3Json()
ONE = '{"name": "get_weather", "parameters": {"city": "Brühl"}}'
NOW = '{"name": "now", "parameters": {}}'
WEATHER = ("get_weather", {"city": "Brühl"})

READ = {
    "one": (ONE, "", [WEATHER]),
    "blanks before": (f"\n\n{ONE}\n", "", [WEATHER]),
    "two": (f"{ONE}; {NOW}", "", [WEATHER, ("now", {})]),
    "two lines": (f"{ONE}\n{NOW}", "", [WEATHER, ("now", {})]),
    "the marker": (f"<|python_tag|>{ONE}", "", [WEATHER]),
    "the marker behind words": (f"Sure. <|python_tag|>{NOW}; {NOW}", "Sure. ", [("now", {})] * 2),
    "with a type": (f'{{"type": "function", {NOW[1:]}', "", [("now", {})]),
    "named a function": ('{"type": "function", "function": "now", "parameters": {}}', "", [("now", {})]),
    "JSON that is no call": (
        '{"name": "Ann", "parameters": {"age": 7}}',
        '{"name": "Ann", "parameters": {"age": 7}}',
        [],
    ),
    "JSON without a name": (' {"age": [7]} ', ' {"age": [7]} ', []),
    "an object behind words": (f"Like this: {NOW}", f"Like this: {NOW}", []),
    "words behind a call": (f"{NOW} is the call", " is the call", [("now", {})]),
    "code": ("<|python_tag|>print(1)", "<|python_tag|>print(1)", []),
    "cut off in the name": ('{"name": "get', '{"name": "get', []),
    "cut off in the next name": (f"{NOW}; {ONE[:11]}", "", [("now", {})]),
    "cut off in the arguments": (ONE[:51], "", [("get_weather", '{"city": "Brü')]),
}


@pytest.mark.parametrize(("text", "content", "calls"), READ.values(), ids=READ)
def test_reads(text, content, calls):
    assert said(text, LLAMA) == (content, calls)


def test_asks_for_what_it_reads():
    assert allows(LLAMA.constraint(ask("required")), ONE)
    assert allows(LLAMA.constraint(ask("required")), f"{ONE}; {NOW}")
    assert not allows(LLAMA.constraint(ask(parallel_tool_calls=False)), f"{ONE}; {NOW}")
    either = LLAMA.constraint(ask(), Json({"type": "object", "required": ["a"]}))
    assert allows(either, '{"a": 1}')
    assert allows(either, NOW)
    assert not allows(either, "words")


FREE = ["", " \n", "Words {", "{", '{"', '{"nam', '{"names": 1}', '{"age": 1}', '{ "x', "{}", "{ {"]
NOT_FREE = ['{"name"', '{"name": "Ann"}', ' { "name" : 1', NOW.replace("now", "other"), ONE.replace("Brühl", "\n")]


@pytest.mark.parametrize("text", [*FREE, ONE, f"<|python_tag|>{ONE}"])
def test_an_answer_may_be_anything_but_half_a_call(text):
    assert allows(LLAMA.constraint(ask()), text)


@pytest.mark.parametrize("text", NOT_FREE)
def test_what_opens_as_a_call_is_one(text):
    assert not allows(LLAMA.constraint(ask()), text)
