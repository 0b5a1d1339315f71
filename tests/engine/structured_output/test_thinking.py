import numpy as np
import pytest

from tests.engine.engine_fakes import make_tokenizer
from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Text
from vllm_local.structured_output.compiler import GrammarCompiler
from vllm_local.structured_outputs_params import StructuredOutputsParams
from vllm_local.thinking_budget import ThinkingBudget

CLOSING = "\n</think>\n\n"


@pytest.fixture(scope="module")
def compiler():
    return GrammarCompiler(make_tokenizer(), make_tokenizer().vocab_size)


def encode(text):
    return make_tokenizer().encode(text, add_special_tokens=False)


def begin(compiler, max_tokens, *, starts=(), inner=None):
    return compiler.limit_thinking(inner, ThinkingBudget(max_tokens, CLOSING, "</think>", starts))


def allowed(grammar):
    bitmask = np.zeros((1, 10), dtype=np.int32)
    grammar.fill_bitmask(bitmask, 0)
    return np.flatnonzero(np.unpackbits(bitmask[0].view(np.uint8), bitorder="little")).tolist()


def test_long_thoughts_are_closed(compiler):
    thoughts, closing = encode("the quick brown fox"), encode(CLOSING)
    grammar = begin(compiler, len(thoughts))
    assert grammar.accept(thoughts[:-1])
    assert grammar.forced_tokens() == []
    assert len(allowed(grammar)) == make_tokenizer().vocab_size
    assert grammar.accept(thoughts[-1:])
    assert grammar.forced_tokens() == closing
    assert allowed(grammar) == closing[:1]
    assert grammar.validate(closing) == len(closing)
    assert not grammar.accept(thoughts)
    assert grammar.accept(closing[:2])
    assert grammar.forced_tokens() == closing[2:]
    assert grammar.accept(closing[2:])
    assert grammar.forced_tokens() == []
    assert grammar.accept(encode("Now the answer, as long as it likes to be."))
    assert grammar.forced_tokens() == []


def test_short_thoughts_are_left_alone(compiler):
    grammar = begin(compiler, 30)
    assert grammar.accept(encode("the fox</think>"))
    assert grammar.accept(encode("an answer " * 20))
    assert grammar.forced_tokens() == []


def test_no_thoughts_at_all(compiler):
    assert begin(compiler, 0).forced_tokens() == encode(CLOSING)


@pytest.mark.parametrize(("text", "is_closed"), [("\n<think>the fox", True), ("<thin", False), ("The fox", False)])
def test_the_model_may_think_or_not(compiler, text, is_closed):
    grammar = begin(compiler, 1, starts=("<think>",))
    tokens = encode(text)
    while tokens and not grammar.forced_tokens():
        assert grammar.accept([tokens.pop(0)])
    assert bool(grammar.forced_tokens()) == is_closed
    assert is_closed or not tokens


def test_a_character_is_written_to_its_end(compiler):
    pieces = encode("東")
    assert len(pieces) == 3
    grammar = begin(compiler, 1)
    for token_id in pieces[:-1]:
        assert grammar.accept([token_id])
        assert grammar.forced_tokens() == []
    assert grammar.accept(pieces[-1:])
    assert grammar.forced_tokens() == encode(CLOSING)


def test_steps_are_taken_back(compiler):
    thoughts, closing = encode("the fox"), encode(CLOSING)
    grammar = begin(compiler, len(thoughts))
    assert grammar.accept([*thoughts, *closing])
    grammar.rollback(len(closing) - 1)
    assert grammar.forced_tokens() == closing[1:]
    grammar.rollback(2)
    assert grammar.forced_tokens() == []
    grammar.rollback(0)
    assert grammar.accept(thoughts[-1:])
    assert grammar.forced_tokens() == closing


def test_the_form_rules_behind_the_thoughts(compiler):
    form = compiler.compile(StructuredOutputsParams(constraint=Text("fox"), starts_after="</think>"), 100)
    grammar = begin(compiler, 2, inner=form)
    thoughts = encode("the the")[:2]
    assert grammar.accept(thoughts)
    assert grammar.accept(grammar.forced_tokens())
    assert not grammar.is_terminated()
    assert grammar.accept(grammar.forced_tokens())
    assert grammar.is_terminated()
    end = min(make_tokenizer().eos_token_ids)
    assert grammar.forced_tokens() == [end]


@pytest.mark.parametrize("max_tokens", [-1, True, 1.5, "2"])
def test_a_budget_is_a_number(max_tokens):
    with pytest.raises(InvalidRequestError, match="thinking_token_budget must be an integer"):
        ThinkingBudget(max_tokens, CLOSING, "</think>")
