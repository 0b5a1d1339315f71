"""A tree of constraints → one grammar for llguidance."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llguidance import regex_to_lark

from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Chain, Constraint, FreeText, Json, Lark, OneOf, Pattern, Repeated, Text
from vllm_local.structured_output.ebnf import to_lark
from vllm_local.structured_output.json_schema import prepare_schema
from vllm_local.structured_output.regex_size import check_regex_size
from vllm_local.structured_outputs_params import MAX_LARK_BYTES

_ANY_TEXT = "/(?s:.*)/"
_NO_UNICODE_ESCAPES = 'nrbtf\\"'
"""With "u", a free property name could spell a named one in disguise, and slip past its schema."""
MAX_REPETITIONS = 100_000
_REGEX_LITERAL = re.compile(r"/(?:\\.|[^/\\\n])+/")


class LarkWriter:
    """Writes one grammar, rule by rule."""

    def __init__(self, special_tokens: Mapping[str, int], parameter: str) -> None:
        """Starts with no rules.

        Args:
            special_tokens: Ids of the tokenizer's special tokens by their text.
            parameter: Whose fault an error is.
        """
        self._special_tokens = special_tokens
        self._parameter = parameter
        longest_first = sorted(special_tokens, key=len, reverse=True)
        self._splitter = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None
        self._rules: dict[str, str] = {}
        self._grammars: list[dict[str, str]] = []

    def write(self, constraint: Constraint) -> str:
        """Returns the grammar as llguidance reads it.

        Raises:
            InvalidRequestError: A part cannot be written.
        """
        start = self._expression(constraint)
        rules = [f"{name}: {body}" for body, name in self._rules.items()]
        enforced = "\n".join(rule for rule in rules if not rule.startswith("FREE"))
        text = "\n".join([self._options(enforced), f"start: {start}", *rules, ""])
        return json.dumps({"grammars": [{"name": "answer", "lark_grammar": text}, *self._grammars]})

    def _expression(self, part: Constraint) -> str:
        writers: Mapping[type, Callable[[Any], str]] = {
            Text: lambda text: " ".join(self._pieces(text.text)) or '""',
            Json: lambda json_part: self._rule("json", f"%json {json.dumps(self._json(json_part))}"),
            Pattern: self._pattern,
            Lark: self._grammar,
            FreeText: self._free,
            Chain: lambda chain: self._chain(chain.parts),
            OneOf: lambda one_of: self._one_of([self._expression(option) for option in one_of.options]),
            Repeated: self._repeated,
        }
        return writers[type(part)](part)

    def _pieces(self, text: str) -> list[str]:
        pieces = [text] if self._splitter is None else self._splitter.split(text)
        return [self._piece(piece) for piece in pieces if piece]

    def _piece(self, piece: str) -> str:
        token_id = self._special_tokens.get(piece)
        return (
            json.dumps(piece, ensure_ascii=False).replace("\x7f", "\\u007f") if token_id is None else f"<[{token_id}]>"
        )

    def _json(self, part: Json) -> dict[str, object]:
        options: dict[str, object] = {"json_allowed_escapes": _NO_UNICODE_ESCAPES, "whitespace_flexible": False}
        if part.whitespace is None:
            options |= {"item_separator": ", ", "key_separator": ": "}
        elif part.whitespace:
            options["whitespace_pattern"] = part.whitespace
        return {"x-guidance": options, **prepare_schema(part.schema, closed=part.closed, parameter=self._parameter)}

    def _pattern(self, part: Pattern) -> str:
        check_regex_size(part.regex, self._parameter, self._parameter)
        return self._rule("PATTERN", f"/{regex_to_lark(part.regex, 'd')}/")

    def _grammar(self, part: Lark) -> str:
        if len(part.grammar.encode()) > MAX_LARK_BYTES:
            message = f"{self._parameter} takes grammars of at most {MAX_LARK_BYTES} bytes."
            raise InvalidRequestError(message, parameter=self._parameter)
        name = f"grammar_{len(self._grammars)}"
        text = to_lark(part.grammar, self._parameter)
        for literal in _REGEX_LITERAL.findall(text):
            check_regex_size(literal, f"{reprlib.repr(literal)} in {self._parameter}", self._parameter)
        self._grammars.append({"name": name, "lark_grammar": f"{self._options(text)}\n{text}"})
        return f"@{name}"

    def _options(self, rules: str) -> str:
        """Returns the line that keeps llguidance from forcing texts that it would cut into special tokens, if need be.

        It cuts forced text as the model's tokenizer does, and then does not take what came out.
        """
        has_special_text = any(special in rules for special in self._special_tokens)
        return f"%llguidance {json.dumps({'no_forcing': True} if has_special_text else {})}"

    def _one_of(self, options: Sequence[str]) -> str:
        return f"({' | '.join(dict.fromkeys(options))})"

    def _repeated(self, part: Repeated) -> str:
        if part.maximum is not None and not part.minimum <= part.maximum <= MAX_REPETITIONS:
            message = f"A part may be repeated {part.minimum} to {MAX_REPETITIONS} times, not {part.maximum}."
            raise InvalidRequestError(message, parameter=self._parameter)
        if part.maximum == 0:
            return '""'
        if part.separator is None:
            return f"({self._expression(part.part)}){_times(part.minimum, part.maximum)}"
        more = self._chain((part.separator, part.part))
        rest = _times(max(part.minimum - 1, 0), None if part.maximum is None else part.maximum - 1)
        several = f"({self._expression(part.part)} ({more}){rest})"
        return several if part.minimum else f"{several}?"

    def _chain(self, parts: Sequence[Constraint]) -> str:
        """Writes parts in a row; a free text and what ends it become one lazy piece of text."""
        flat = _flattened(parts)
        written: list[str] = []
        for i, part in enumerate(flat):
            if isinstance(part, FreeText) and i + 1 < len(flat):
                return " ".join([*written, self._free_then(part, flat[i + 1 :])])
            written.append(self._expression(part))
        return " ".join(written) or '""'

    def _free_then(self, free: FreeText, following: Sequence[Constraint]) -> str:
        """Writes a free text up to what follows it, whichever way that begins."""
        first, rest = following[0], tuple(following[1:])
        if isinstance(first, FreeText):
            return self._chain((first, *rest))
        if isinstance(first, OneOf):
            return self._one_of([self._chain((free, option, *rest)) for option in first.options])
        if isinstance(first, Repeated):
            return self._free_then_repeated(free, first, rest)
        if isinstance(first, Text) and first.text:
            trigger = next((text for text in free.without if first.text.startswith(text)), first.text)
            pieces = self._pieces(trigger)
            after = self._chain((Text(first.text[len(trigger) :]), *rest))
            if not pieces[0].startswith('"'):
                return " ".join([self._free(free), *pieces, after])
            head = self._rule("head", f"{_ANY_TEXT} {pieces[0]}", "[lazy]")
            return " ".join([head, *pieces[1:], after])
        return " ".join([self._free(free), self._chain((first, *rest))])

    def _free_then_repeated(self, free: FreeText, part: Repeated, rest: tuple[Constraint, ...]) -> str:
        maximum = None if part.maximum is None else part.maximum - 1
        again: tuple[Constraint, ...] = () if part.separator is None else (part.separator,)
        others = Repeated(Chain((*again, part.part)), max(part.minimum - 1, 0), maximum)
        some = self._chain((free, part.part, others, *rest))
        return some if part.minimum else self._one_of([some, self._chain((free, *rest))])

    def _free(self, part: FreeText) -> str:
        text = self._rule("ANY", _ANY_TEXT)
        if not part.without:
            return text
        stops = " | ".join(json.dumps(stop, ensure_ascii=False) for stop in part.without)
        return self._rule("FREE", f"{text} & ~({text} ({stops}) {text})")

    def _rule(self, kind: str, body: str, options: str = "") -> str:
        """Names a rule; the same text is one rule, so that llguidance sees one lexeme."""
        name = self._rules.get(body)
        if name is None:
            name = f"{kind}_{len(self._rules)}"
            self._rules[body] = name + options
        return name.partition("[")[0]


def _times(minimum: int, maximum: int | None) -> str:
    if maximum is None:
        return {0: "*", 1: "+"}.get(minimum, f"{{{minimum},}}")
    return f"{{{minimum},{maximum}}}"


def _flattened(parts: Sequence[Constraint]) -> list[Constraint]:
    flat: list[Constraint] = []
    for part in parts:
        if isinstance(part, Chain):
            flat.extend(_flattened(part.parts))
        elif not (isinstance(part, Text) and not part.text):
            flat.append(part)
    return flat
