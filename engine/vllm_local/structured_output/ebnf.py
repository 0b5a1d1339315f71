"""Grammars in EBNF (`root ::= …`, as vLLM's other backends and llama.cpp read them) → Lark."""

from __future__ import annotations

import re

from llguidance.gbnf_to_lark import gbnf_to_lark

from vllm_local.errors import InvalidRequestError

MAX_GRAMMAR_DEPTH = 200
"""Open brackets at one place; the translator is recursive."""
MAX_RULES = 1000
"""The translator's work grows with their square."""
_QUOTED = re.compile(r""" "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\\n])*' | \[(?:\\.|[^\]\\])*\] | \#[^\n]* """, re.VERBOSE)
"""Texts, sets of characters and comments: quotes inside of them are not their own."""
_RULE = re.compile(r"^[ \t]*[A-Za-z_][\w-]*[ \t]*::=", re.MULTILINE)


def is_ebnf(grammar: str) -> bool:
    """Whether a grammar's rules are written with `::=`."""
    return _RULE.search(grammar) is not None


def to_lark(grammar: str, parameter: str) -> str:
    """Returns a grammar in llguidance's Lark; one in Lark comes back as it is.

    Args:
        grammar: In Lark, or in EBNF with the rule `root`.
        parameter: Whose fault an error is.

    Raises:
        InvalidRequestError: The EBNF is malformed, or too large.
    """
    if not is_ebnf(grammar):
        return grammar
    _check_depth(grammar, parameter)
    if len(_RULE.findall(grammar)) > MAX_RULES:
        message = f"The grammar has more than {MAX_RULES} rules in EBNF; write fewer, or write it in Lark."
        raise InvalidRequestError(message, parameter=parameter)
    try:
        return gbnf_to_lark(_with_double_quotes(grammar))
    except Exception as error:  # the translator raises bare Exception
        message = f"The grammar cannot be read as EBNF: {error}."
        raise InvalidRequestError(message, parameter=parameter) from error


def _with_double_quotes(grammar: str) -> str:
    """Rewrites 'texts' as "texts"; only the latter are known to the translator."""
    return _QUOTED.sub(_as_double_quoted, grammar)


def _as_double_quoted(match: re.Match[str]) -> str:
    if not match.group().startswith("'"):
        return match.group()
    inner = match.group()[1:-1].replace("\\'", "'")
    return '"' + re.sub(r'(?<!\\)"', r"\"", inner) + '"'


def _check_depth(grammar: str, parameter: str) -> None:
    depth = 0
    for character in grammar:
        depth += (character == "(") - (character == ")")
        if depth > MAX_GRAMMAR_DEPTH:
            message = f"The grammar has more than {MAX_GRAMMAR_DEPTH} open brackets at one place."
            raise InvalidRequestError(message, parameter=parameter)
