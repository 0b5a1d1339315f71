"""What a request asks of its answer's form → a `Grammar` over the model's tokens."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from llguidance import LLMatcher

from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import (
    Chain,
    Constraint,
    FreeText,
    Json,
    Lark,
    OneOf,
    Pattern,
    Text,
    constraint_key,
    sub_constraints,
)
from vllm_local.request import Grammar
from vllm_local.structured_output.budget import Budget
from vllm_local.structured_output.closer import Closer
from vllm_local.structured_output.closing_hints import ShortestTexts, fixed_texts, growth
from vllm_local.structured_output.compile_threads import CompileThreads
from vllm_local.structured_output.grammar import TokenGrammar
from vllm_local.structured_output.lark_writer import LarkWriter
from vllm_local.structured_output.limits import GrammarLimits
from vllm_local.structured_output.structural_tag import StructuralTags
from vllm_local.structured_output.thinking import ThinkingGrammar
from vllm_local.structured_output.tokenizer_bridge import TokenizerBridge
from vllm_local.structured_outputs_params import StructuredOutputsParams
from vllm_local.thinking_budget import ThinkingBudget
from vllm_local.tokenizer.tokenizer import Tokenizer

MAX_FIRST_WAY = 4096
"""Tokens of the shortest answer that is looked for."""
MAX_MESSAGE_LENGTH = 500
"""Characters of llguidance's reasons that are passed on."""
_SCHEMA_ERROR = "failed to compile JSON schema: "


@dataclass(frozen=True)
class CompiledConstraint:
    """What requests with the same constraint share.

    Attributes:
        matcher: At the beginning of an answer; only ever copied.
        closer: Finds ends.
        way: The shortest answer that was found, or None.
        growth: Tokens by which one token may make the way to an end longer.
    """

    matcher: LLMatcher
    closer: Closer
    way: list[int] | None
    growth: int


class GrammarCompiler:
    """Compiles constraints for one model, and keeps the last ones. Safe to use from any number of threads.

    Compiling takes from a millisecond to a second or two, most of it without the interpreter lock, on threads of its
    own; never wait for it on the engine's thread, nor on one that other requests need.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, limits: GrammarLimits | None = None) -> None:
        """Keeps what it needs; the vocabulary is read when the first constraint comes.

        Args:
            tokenizer: The model's.
            vocab_size: Rows of the model's embedding.
            limits: Bounds on the work that a grammar may cost.
        """
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._limits = limits or GrammarLimits()
        self._lock = threading.Lock()
        self._bridge_lock = threading.Lock()
        self._threads = CompileThreads()
        self._bridge: TokenizerBridge | None = None
        self._special_tokens: Mapping[str, int] = {}
        self._compiled: OrderedDict[str, Future[CompiledConstraint]] = OrderedDict()

    def compile(self, params: StructuredOutputsParams, max_tokens: int) -> Grammar:
        """Returns the grammar of a new answer.

        Args:
            params: The form that it must have.
            max_tokens: Most tokens of it; the grammar sees to it that the answer is complete by then, where it can be.

        Raises:
            InvalidRequestError: The constraint is malformed, not supported, too large, or fits no text.
        """
        compiled = self.begin(params).result()
        bridge = self._load_bridge()
        budget = Budget(compiled.closer, bridge, compiled.way, compiled.growth, max_tokens)
        return TokenGrammar(compiled.matcher.deep_copy(), bridge, budget, _parameter_of(params))

    def begin(self, params: StructuredOutputsParams) -> Future[CompiledConstraint]:
        """Begins to compile a constraint, and waits for nothing; `compile` finds it.

        Args:
            params: The form that answers must have.

        Returns:
            What may be waited for; an error of `compile`'s is its result as well.

        Raises:
            InvalidRequestError: A structural tag is malformed.
        """
        constraint = as_constraint(params)
        key = constraint_key(constraint)
        with self._lock:
            begun = self._compiled.get(key)
            if begun is not None and not (begun.done() and begun.exception() is not None):
                self._compiled.move_to_end(key)
                return begun
            # Errors name the request's field, and the same constraint may come in another one.
            begun = self._threads.submit(len(key), self._compile, constraint, _parameter_of(params))
            self._compiled[key] = begun
            while len(self._compiled) > self._limits.cached_grammars:
                self._compiled.popitem(last=False)
        return begun

    def limit_thinking(self, grammar: Grammar | None, budget: ThinkingBudget) -> Grammar:
        """Returns a grammar that ends long thoughts, and leaves the rest of the answer to another, if there is one."""
        return ThinkingGrammar(budget, self._load_bridge(), grammar)

    def _load_bridge(self) -> TokenizerBridge:
        with self._bridge_lock:
            if self._bridge is None:
                self._bridge = TokenizerBridge(self._tokenizer, self._vocab_size)
                self._special_tokens = self._bridge.special_tokens()
            return self._bridge

    def _match(self, constraint: Constraint, bridge: TokenizerBridge, parameter: str) -> LLMatcher:
        text = LarkWriter(self._special_tokens, parameter).write(constraint)
        matcher = LLMatcher(bridge.ll_tokenizer, text, log_level=0, limits=self._limits.as_llguidance())
        _check(matcher, parameter)
        allowed = matcher.compute_bitmask()
        _check(matcher, parameter)
        if not any(allowed):
            message = f"{parameter} fits no text that this model's tokens can write."
            raise InvalidRequestError(message, parameter=parameter)
        return matcher

    def _compile(self, constraint: Constraint, parameter: str) -> CompiledConstraint:
        bridge = self._load_bridge()
        for part in sub_constraints(constraint):
            # What is wrong with a part behind other text would come out in mid-answer only.
            if isinstance(part, (Json, Lark, Pattern)) and part is not constraint:
                self._match(part, bridge, parameter)
        matcher = self._match(constraint, bridge, parameter)
        texts = ShortestTexts(bridge, parameter)
        closer = Closer(bridge, fixed_texts(constraint, bridge), texts.hints(constraint))
        way = _first_way(matcher, texts.of(constraint), bridge) or closer.close(matcher, MAX_FIRST_WAY)
        return CompiledConstraint(matcher, closer, way, max(len(way or ()), growth(constraint, bridge)))


def as_constraint(params: StructuredOutputsParams) -> Constraint:
    """Returns what a request asks for as one tree.

    Raises:
        InvalidRequestError: A structural tag is malformed.
    """
    constraint = _without_start(params)
    if params.starts_after is None:
        return constraint
    # Models write an empty line behind their reasoning.
    return Chain((FreeText((params.starts_after,)), Text(params.starts_after), Pattern(r"\n{0,2}"), constraint))


def _without_start(params: StructuredOutputsParams) -> Constraint:
    whitespace = "" if params.disable_any_whitespace else params.whitespace_pattern
    if params.constraint is not None:
        return params.constraint
    if params.regex is not None:
        return Pattern(params.regex)
    if params.choice is not None:
        return OneOf(tuple(map(Text, params.choice)))
    if params.grammar is not None:
        return Lark(params.grammar)
    if isinstance(params.structural_tag, Mapping):
        return StructuralTags("structured_outputs.structural_tag", whitespace).read(params.structural_tag)
    return Json(params.json if isinstance(params.json, Mapping) else {"type": "object"}, whitespace)


def _parameter_of(params: StructuredOutputsParams) -> str:
    return f"structured_outputs.{params.kind}"


def _first_way(matcher: LLMatcher, text: str | None, bridge: TokenizerBridge) -> list[int] | None:
    """Returns the tokens of a text if it is a whole answer."""
    if text is None or len(text.encode()) > MAX_FIRST_WAY * 8:
        return None
    way = bridge.tokenize(text.encode(), parse_special=True)
    behind = matcher.deep_copy()
    return way if behind.try_consume_tokens(way) == len(way) and behind.is_accepting() else None


def _check(matcher: LLMatcher, parameter: str) -> None:
    if matcher.is_error():
        whole = matcher.get_error()
        # Behind the reason comes the grammar, which is none of the caller's.
        of_schema = whole.partition(_SCHEMA_ERROR)[2].partition("\n   1 |")[0]
        reason = " ".join((of_schema or whole).split())[:MAX_MESSAGE_LENGTH]
        raise InvalidRequestError(f"{parameter} cannot be compiled: {reason}.", parameter=parameter)
