import json

import pytest

from tests.engine.structured_output.random_answers import allowed_tokens
from vllm_local.errors import InvalidRequestError
from vllm_local.structured_output import GrammarCompiler, GrammarLimits
from vllm_local.structured_outputs_params import StructuredOutputsParams


@pytest.fixture
def grammar(compiler):
    return compiler.compile(StructuredOutputsParams(regex="[ab]{2,3}"), 10)


@pytest.fixture
def a_b(tokenizer):
    return [tokenizer.encode(text, False)[0] for text in "ab"]


def test_tokens_are_taken_or_leave_everything_as_it_was(grammar, tokenizer, a_b):
    a, b = a_b
    wrong = tokenizer.encode("x", False)
    assert not grammar.accept([a, *wrong])
    assert not grammar.accept(wrong)
    assert grammar.accept([a, b])
    assert grammar.accept([])


def test_an_end_token_comes_where_the_answer_may_end(grammar, tokenizer, a_b):
    (end, other_end), (a, b) = sorted(tokenizer.eos_token_ids), a_b
    assert not grammar.accept([a, end])
    assert grammar.accept([a])
    assert not grammar.accept([end])
    assert grammar.validate([b, end, a]) == 2
    assert grammar.validate([b, end]) == 2
    assert grammar.accept([b])
    assert {end, other_end} <= set(allowed_tokens(grammar, tokenizer.vocab_size))
    assert grammar.is_fulfilled()
    assert not grammar.is_terminated()
    assert grammar.accept([other_end])
    assert grammar.is_terminated()
    assert not grammar.accept([a])
    assert grammar.forced_tokens() == []


def test_where_nothing_may_follow_the_end_token_is_forced(grammar, tokenizer, a_b):
    a, b = a_b
    assert grammar.accept([a, b, a])
    assert grammar.is_terminated()
    ends = sorted(tokenizer.eos_token_ids)
    assert allowed_tokens(grammar, tokenizer.vocab_size) == ends
    assert grammar.forced_tokens() == ends[:1]
    assert grammar.accept(ends[:1])


@pytest.mark.parametrize("num_tokens", [1, 2, 3, 4])
def test_tokens_can_be_taken_back(compiler, tokenizer, a_b, num_tokens):
    grammar = compiler.compile(StructuredOutputsParams(regex="[ab]{2,3}"), 10)
    a, b = a_b
    run = [a, b, a, min(tokenizer.eos_token_ids)]
    assert grammar.accept(run)
    grammar.rollback(num_tokens)
    assert grammar.validate(run[-num_tokens:]) == num_tokens
    assert grammar.accept(run[-num_tokens:])
    assert grammar.is_terminated()


def test_rows_beyond_the_vocabulary_are_never_allowed(sample_compilers, sample_tokenizers):
    size = sample_tokenizers["byte_level_bpe"].vocab_size
    grammar = sample_compilers["byte_level_bpe"].compile(StructuredOutputsParams(regex="(?s:.*)"), 10)
    assert max(allowed_tokens(grammar, size + 37)) < size


def test_too_much_work_on_the_way_is_the_callers_fault(tokenizer):
    compiler = GrammarCompiler(tokenizer, tokenizer.vocab_size, GrammarLimits(step_items=40))
    ambiguous = 'start: s\ns: s s | "a" | "a" s | s "a"'

    def answer():
        grammar = compiler.compile(StructuredOutputsParams(grammar=ambiguous), 400)
        for _ in range(40):
            assert grammar.accept(tokenizer.encode("a", False))
            allowed_tokens(grammar, tokenizer.vocab_size)

    with pytest.raises(InvalidRequestError, match=r"work|compiled") as error:
        answer()
    assert error.value.parameter == "structured_outputs.grammar"


def test_a_token_that_leaves_no_room_gives_way_to_one_that_does(compiler, tokenizer, a_b):
    grammar = compiler.compile(StructuredOutputsParams(regex="a|b{9}"), 3)
    a, b = a_b
    assert grammar.fitting([b]) == [a]
    assert allowed_tokens(grammar, tokenizer.vocab_size) == [a]
    assert grammar.accept([a])
    assert grammar.is_terminated()
    grammar.rollback(1)
    assert b in allowed_tokens(grammar, tokenizer.vocab_size)
    assert compiler.compile(StructuredOutputsParams(regex="a|b{9}"), 30).fitting([b]) == [b]


def test_what_cannot_be_finished_is_not_begun(compiler, tokenizer, a_b):
    grammar = compiler.compile(StructuredOutputsParams(regex="a*(b{9})?"), 3)
    a, b = a_b
    ends = sorted(tokenizer.eos_token_ids)
    assert grammar.fitting([a]) == [a]
    assert grammar.fitting([b]) == ends[:1]
    assert grammar.fitting(ends[:1]) == ends[:1]


@pytest.mark.parametrize("status", ["open", "returned"])
def test_where_there_is_room_what_the_model_begins_is_kept(compiler, bridge, status):
    order = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "status": {"enum": ["open", "paid", "returned"]},
            "total": {"type": "number"},
            "notes": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "is_gift": {"type": "boolean"},
        },
        "required": ["name", "status", "total", "notes", "is_gift"],
    }
    schema = {"type": "array", "items": order, "minItems": 12, "maxItems": 12}
    one = {"name": 'Jörg "東" Ω', "status": status, "total": 12.5, "notes": ["a\\b", "東京"], "is_gift": False}
    answer = bridge.tokenize(json.dumps([one] * 12, ensure_ascii=False).encode())
    grammar = compiler.compile(StructuredOutputsParams(json=schema), len(answer) + 100)
    for token_id in answer:
        assert grammar.fitting([token_id]) == [token_id]
        assert grammar.accept([token_id])
    assert grammar.is_fulfilled()
