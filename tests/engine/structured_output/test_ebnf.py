import pytest

from vllm_local.errors import InvalidRequestError
from vllm_local.structured_output.ebnf import MAX_GRAMMAR_DEPTH, MAX_RULES, is_ebnf, to_lark


def test_lark_comes_back_as_it_is():
    grammar = 'start: "a" | B\nB: /::=/\n'
    assert not is_ebnf(grammar)
    assert to_lark(grammar, "grammar") == grammar


def test_ebnf_is_translated_with_quotes_of_both_kinds():
    lark = to_lark("root ::= 'it''s' item+ # \"note\"\nitem ::= \"'\" | 'say \"x\"' | [a-z'\"]", "grammar")
    assert "start:" in lark
    assert r"say \"x\"" in lark
    assert "::=" not in lark


@pytest.mark.parametrize(
    "grammar",
    ["root ::= ", "root ::= missing", 'other ::= "a"', "root ::= [a", 'root ::= "\\q"', 'root ::= "a"{x}',
     "root ::= " + "(" * (MAX_GRAMMAR_DEPTH + 1),
     "\n".join(["root ::= r0", *(f'r{i} ::= "a"' for i in range(MAX_RULES))])],
)  # fmt: skip
def test_what_is_no_grammar_is_refused(grammar):
    if grammar == "root ::= ":
        assert to_lark(grammar, "grammar").strip().endswith('""')
        return
    with pytest.raises(InvalidRequestError) as error:
        to_lark(grammar, "structured_outputs.grammar")
    assert error.value.parameter == "structured_outputs.grammar"
