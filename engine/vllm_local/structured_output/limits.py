"""How much work a request's grammar may cost."""

from __future__ import annotations

from dataclasses import dataclass

from llguidance import LLParserLimits


@dataclass(frozen=True)
class GrammarLimits:
    """Bounds on compiling a grammar and on each step through it, in llguidance's units of work.

    Attributes:
        initial_fuel: Work on regular expressions while compiling; about 50,000 a millisecond.
        step_fuel: Work on regular expressions at one token; about 14,000 a millisecond.
        step_items: Parser items at one token; about 20,000 a millisecond.
        lexer_states: States of the lexer, of 1 to 2 kB each.
        grammar_size: Symbols of the grammar.
        cached_grammars: Compiled grammars that are kept.
    """

    initial_fuel: int = 10_000_000
    step_fuel: int = 500_000
    step_items: int = 100_000
    lexer_states: int = 50_000
    grammar_size: int = 500_000
    cached_grammars: int = 128

    def as_llguidance(self) -> LLParserLimits:
        """Returns the same for llguidance, which then keeps the grammar out of its error messages."""
        return LLParserLimits(
            initial_lexer_fuel=self.initial_fuel,
            step_lexer_fuel=self.step_fuel,
            step_max_items=self.step_items,
            max_lexer_states=self.lexer_states,
            max_grammar_size=self.grammar_size,
            verbose_errors=False,
        )
