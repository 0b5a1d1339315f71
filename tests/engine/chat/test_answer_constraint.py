"""Tools, a response format and thoughts in one constraint."""

from tests.engine.chat.answers import allows, ask
from vllm_local.chat.answer_constraint import AnswerConstraint, constrain_answer
from vllm_local.chat.reasoning_formats.gpt_oss import GptOss as GptOssReasoning
from vllm_local.chat.reasoning_formats.think import Think
from vllm_local.chat.tool_formats.gpt_oss import GptOss
from vllm_local.chat.tool_formats.hermes import Hermes
from vllm_local.grammar_spec import Json

RESPONSE = Json({"type": "object", "required": ["a"]})
CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'


def constrain(*arguments) -> AnswerConstraint:
    found = constrain_answer(*arguments)
    assert found is not None
    return found


def test_nothing_to_keep_to():
    assert constrain_answer(ask("none"), None, Hermes()) is None
    assert constrain_answer(ask("none"), None, Hermes(), Think(), "open") is None


def test_a_model_that_does_not_think():
    found = constrain(ask("none"), RESPONSE, Hermes())
    assert (found.constraint, found.starts_after) == (RESPONSE, None)


def test_thoughts_that_the_prompt_has_opened():
    found = constrain(ask("required"), RESPONSE, Hermes(), Think(), "open")
    assert found.starts_after == "</think>"
    assert allows(found.constraint, f"\n\n{CALL}")
    assert not allows(found.constraint, '{"a": 1}')


def test_thoughts_that_the_model_may_open():
    found = constrain(ask(), RESPONSE, Hermes(), Think(), "free")
    assert found.starts_after is None
    for answer in (CALL, '{"a": 1}', f"<think>\nHm.\n</think>\n\n{CALL}", '<think>Hm.</think>{"a": 1}'):
        assert allows(found.constraint, answer)
    assert not allows(found.constraint, "<think>Hm.</think>Words.")


def test_no_thoughts():
    found = constrain(ask("required"), None, Hermes(), Think(), "closed")
    assert found.starts_after is None
    assert allows(found.constraint, CALL)
    assert not allows(found.constraint, f"<think></think>{CALL}")


def test_gpt_oss():
    found = constrain(ask("none"), RESPONSE, GptOss(), GptOssReasoning(), "free")
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    assert allows(found.constraint, thought + '<|channel|>final<|message|>{"a": 1}')
    assert not allows(found.constraint, thought + '{"a": 1}')
