"""The shortest way from where an answer stands to a valid end.

A search, with the grammar itself as the judge of every step: what it returns is accepted, whatever the grammar. Which
steps are tried first is made for JSON: what closes something comes before what opens something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from llguidance import LLMatcher

from vllm_local.structured_output.tokenizer_bridge import TokenizerBridge

MAX_STEPS = 400
"""States that one search may look at, if it is not told another number."""
MAX_BRANCHES = 6
"""Single bytes that are tried in one state."""
_RUNS = (256, 64, 16, 4)
"""Characters of a run that fills a text of some least length."""
_VALUES = (b"null", b"0", b"false", b"true", b"[", b"{", b"1")
"""What JSON values begin with, or are; inside of strings they are as good as any other text."""
_ENDERS = (b'""', b'"', b",", b"]", b"}")
_BYTE_ORDER = b'"}],:@-./_ 019aA+tTzZ'
"""Bytes that end or divide something come first; a pattern's repetition is left that way."""


class _Step(NamedTuple):
    """Something to write next.

    Attributes:
        tokens: Its tokens.
        is_filler: Whether it stands for any text of its kind.
    """

    tokens: tuple[int, ...]
    is_filler: bool = False


@dataclass
class _State:
    """A place in the search.

    Attributes:
        matcher: The grammar there.
        tokens: The way there.
        used: How often each step was taken on it.
        in_filler: Whether the last step was one of fillers.
        room: Tokens that are left.
        options: What is still to be tried from there.
    """

    matcher: LLMatcher
    tokens: list[int]
    used: Counter[_Step]
    in_filler: bool
    room: int
    options: Iterator[_Step] = field(init=False)


class Closer:
    """Finds ends of answers in one grammar. Its searches keep nothing, so that threads may share it."""

    def __init__(
        self, bridge: TokenizerBridge, texts: Iterable[Sequence[int]] = (), hints: Iterable[Sequence[int]] = ()
    ) -> None:
        """Cuts what it will try into tokens.

        Args:
            bridge: The model's tokens.
            texts: What stands between values, such as tags.
            hints: What the grammar is likely to want as a whole, such as names and constants of JSON, best ones first.
        """
        self._bridge = bridge
        self._empty, quote, comma, bracket, brace = ((*bridge.tokenize(text),) for text in _ENDERS)
        # A bracket that a quote or a letter may follow, or a quote that a letter may, stands in a text; it closes none.
        letter = (*bridge.tokenize(b"a"),)
        self._letter = letter
        in_text = [quote, letter]
        self._closers = [(_Step(brace), in_text), (_Step(bracket), in_text), (_Step(quote), [letter])]
        self._texts = [_Step(text) for text in dict.fromkeys(map(tuple, texts)) if text]
        self._hints = [_Step(hint) for hint in dict.fromkeys(map(tuple, hints)) if hint]
        self._openers = [_Step(quote), _Step(comma)]
        self._values = [_Step((*bridge.tokenize(text),), True) for text in _VALUES]
        self._runs = [_Step((*bridge.tokenize(b"a" * length),)) for length in _RUNS]
        self._quote, self._any_text = quote, (*bridge.tokenize(b" <~;"),)
        self._enders = (quote, comma, bracket, brace)
        single = [bridge.tokenize(bytes([byte])) for byte in range(256)]
        self._byte_of = {tokens[0]: byte for byte, tokens in enumerate(single) if len(tokens) == 1}
        self._byte_tokens = np.zeros(bridge.ll_tokenizer.vocab_size, dtype=np.bool_)
        self._byte_tokens[list(self._byte_of)] = True

    def close(
        self,
        matcher: LLMatcher,
        max_tokens: int,
        max_steps: int = MAX_STEPS,
        rest: Callable[[LLMatcher], list[int] | None] = lambda matcher: [] if matcher.is_accepting() else None,
    ) -> list[int] | None:
        """Returns tokens that end an answer here, without an end token, or None where none were found.

        Args:
            matcher: The grammar, where the answer stands; it is not changed.
            max_tokens: More tokens are of no use; the search gives a way up when it is far longer.
            max_steps: States that it may look at.
            rest: Returns what leads from a state to the end, if that is known.
        """
        longest = 4 * max_tokens + 32
        stack = [self._state(matcher.deep_copy(), [], Counter(), False, max_tokens)]
        for _ in range(max_steps):
            state = stack[-1]
            if state.matcher.is_error():
                return None
            known = rest(state.matcher)
            if known is not None:
                return self._shortened(matcher, [*state.tokens, *known])
            step = next(state.options, None) if len(state.tokens) <= longest else None
            if step is None:
                stack.pop()
                if not stack:
                    return None
                continue
            behind = state.matcher.deep_copy()
            if behind.try_consume_tokens(list(step.tokens)) == len(step.tokens):
                used = state.used + Counter({step: 1})
                tokens = [*state.tokens, *step.tokens]
                stack.append(self._state(behind, tokens, used, step.is_filler, max_tokens - len(tokens)))
        return None

    def _state(self, matcher: LLMatcher, tokens: list[int], used: Counter[_Step], in_filler: bool, room: int) -> _State:
        state = _State(matcher, tokens, used, in_filler, room)
        state.options = self._options(state)
        return state

    def _options(self, state: _State) -> Iterator[_Step]:
        """Yields what may come next, best first."""
        forced = state.matcher.compute_ff_tokens()
        if forced:
            text = self._bridge.bytes_of(forced)
            if self._hints and text.endswith(b'"'):
                # All names begin with the quote; from before it, a required one can be taken as a whole.
                before = [_Step((*self._bridge.tokenize(text[:-1]),))] if len(text) > 1 else self._hints
                yield from self._accepted(state, self._least_used(before, state))
            yield _Step(tuple(forced))
            return
        for closer, followers in self._closers:
            ways = ([*closer.tokens, *follower] for follower in followers)
            if all(state.matcher.validate_tokens(way) == len(closer.tokens) for way in ways):
                yield closer
        yield from self._accepted(state, self._pieces(state))
        yield from self._needed_runs(state)
        yield from self._single_bytes(state)

    def _pieces(self, state: _State) -> Iterator[_Step]:
        """Yields what is tried anywhere; what was written less often comes first, so that no loop is run for ever."""
        yield from self._least_used(self._texts, state)
        yield _Step(self._empty)
        yield from self._least_used(self._hints, state)
        yield from self._openers
        if not state.in_filler:
            yield from self._values

    def _needed_runs(self, state: _State) -> Iterator[_Step]:
        """Yields a run of letters that a string of any text cannot yet end behind, if there is room for it."""
        if state.matcher.validate_tokens(list(self._any_text)) < len(self._any_text):
            return
        for run in self._accepted(state, (run for run in self._runs if len(run.tokens) < state.room)):
            if state.matcher.validate_tokens([*run.tokens, *self._quote]) == len(run.tokens):
                yield run
                return

    def _accepted(self, state: _State, steps: Iterable[_Step]) -> Iterator[_Step]:
        return (step for step in steps if state.matcher.validate_tokens(list(step.tokens)) == len(step.tokens))

    def _least_used(self, steps: list[_Step], state: _State) -> list[_Step]:
        return sorted(steps, key=state.used.__getitem__)

    def _single_bytes(self, state: _State) -> Iterator[_Step]:
        mask = np.frombuffer(state.matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(mask, bitorder="little")[: len(self._byte_tokens)].astype(np.bool_)
        token_ids = [int(token_id) for token_id in np.flatnonzero(allowed & self._byte_tokens)]
        if not token_ids:
            yield from (_Step((int(token_id),)) for token_id in np.flatnonzero(allowed)[:MAX_BRANCHES])
            return
        steps = [_Step((token_id,), True) for token_id in token_ids]
        best_first = sorted(steps, key=lambda step: self._rank(step, state.used))[:MAX_BRANCHES]
        yield from sorted(best_first, key=lambda step: not self._may_end_behind(state.matcher, step))

    def _may_end_behind(self, matcher: LLMatcher, step: _Step) -> bool:
        """Whether something may be closed right behind a step; an ender before a letter stands in a text."""
        ways = ([*step.tokens, *ender, *self._letter] for ender in self._enders)
        return any(matcher.validate_tokens(way) == len(way) - len(self._letter) for way in ways)

    def _rank(self, step: _Step, used: Counter[_Step]) -> tuple[int, int]:
        byte = self._byte_of[step.tokens[0]]
        place = _BYTE_ORDER.find(byte)
        return used[step], place if place >= 0 else 256 + byte

    def _shortened(self, matcher: LLMatcher, tokens: list[int]) -> list[int]:
        """Cuts the way's text into tokens anew, where that makes fewer."""
        if len(tokens) < 2 or any(map(self._bridge.is_special, tokens)):
            return tokens
        fewer = self._bridge.tokenize(self._bridge.bytes_of(tokens))
        return fewer if len(fewer) < len(tokens) and matcher.validate_tokens(fewer) == len(fewer) else tokens
