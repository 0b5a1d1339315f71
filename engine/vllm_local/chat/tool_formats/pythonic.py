"""A list of Python calls: Llama 3.2 and 4 with their pythonic templates, Gemma 3, ToolACE."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vllm_local.chat.deltas import ContentDelta
from vllm_local.chat.python_reader import QUOTES, read_python_value, stream_python_string
from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter, ToolFormat, any_of, in_a_row
from vllm_local.chat.tool_formats.parameters import Parameter, check_parameters, parameters_of, quoted
from vllm_local.chat.tool_formats.reading import read_answer
from vllm_local.chat.tools import Tool
from vllm_local.grammar_spec import Chain, Constraint, Json, OneOf, Pattern, Repeated, Text

_START, _END = "<|python_start|>", "<|python_end|>"
_KEY = re.compile(r"[^\W\d]\w*")

_NO_CALL = r"\s*([^\s\[](?s:.)*|\[([^A-Za-z_](?s:.)*)?)?"
"""Blanks, a bracket and a letter begin a call."""


class Pythonic(ToolFormat):
    """`[f(a=1, b="x"), g()]` as the whole answer."""

    name = "pythonic"
    vllm_parser_names = ("pythonic", "llama4_pythonic")
    signs = ("[func_name1(",)
    openers = (_START,)
    markers = (_START, _END)

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """Arguments that a call must have come first."""
        call = in_a_row(any_of([self._call(tool) for tool in tools]), one_only, ", ")
        return Chain((Text("["), call, Text("]")))

    def either(self, calls: Constraint, response: Constraint | None) -> Constraint:
        """Calls are the whole answer, so the first characters decide."""
        marked = Chain((Repeated(Text(_START), 0, 1), calls, Repeated(Text(_END), 0, 1)))
        return OneOf((marked, Pattern(_NO_CALL) if response is None else response))

    def read(self, source: TextSource, calls: CallWriter) -> Reading[None]:
        """A list that begins with a known tool's name is one of calls."""

        def read_marked() -> Reading[bool]:
            yield from source.skip_whitespace()
            return (yield from self._read_list(source, calls))

        source.mark()
        blank = yield from source.skip_whitespace()
        if (yield from source.peek()) == "[":
            if not (yield from self._read_list(source, calls)):
                source.take_back()
                yield ContentDelta(source.take(len(blank) + 1))
        else:
            source.take_back()
        yield from read_answer(source, calls, dict.fromkeys(self.openers, read_marked), (_END,))

    def _call(self, tool: Tool) -> Constraint:
        check_parameters(tool, self.name, " ()=,\"'\n")
        parameters = sorted(parameters_of(tool), key=lambda parameter: not parameter.is_required)
        return Chain((Text(f"{tool.name}("), _arguments(parameters), Text(")")))

    def _read_list(self, source: TextSource, calls: CallWriter) -> Reading[bool]:
        if not (yield from source.accept("[")):
            return False
        count = calls.count
        while True:
            if calls.count > count:
                source.mark()
            yield from source.skip_whitespace()
            if not (yield from self._read_call(source, calls)):
                if calls.count > count:
                    source.take_back()
                    source.drop_cut_off()
                break
            yield from source.skip_whitespace()
            yield from source.accept(",")
        yield from source.accept("]")
        return calls.count > count

    def _read_call(self, source: TextSource, calls: CallWriter) -> Reading[bool]:
        name = yield from source.read_until("(", "]", "\n")
        if not name or not calls.knows(name) or not (yield from source.accept("(")):
            return False
        yield from source.skip_whitespace()
        if (yield from source.accept(")")):
            yield calls.begin(name)
            yield calls.arguments("{}")
            return True
        lead = "{"
        while True:
            key = yield from source.read_until("=", ",", ")", '"', "'")
            if key is None or not _KEY.fullmatch(key.strip()) or not (yield from source.accept("=")):
                if lead == "{":
                    return False
                break
            if lead == "{":
                yield calls.begin(name)
            yield calls.arguments(f"{lead}{quoted(key.strip())}: ")
            lead = ", "
            if not (yield from _stream_value(source, calls)):
                break
            yield from source.skip_whitespace()
            yield from source.accept(",")
            yield from source.skip_whitespace()
            if (yield from source.accept(")")):
                yield calls.arguments("}")
                return True
        # Whatever this is, it belongs to the call.
        yield from source.stream_until((), calls.arguments)
        return True


def _stream_value(source: TextSource, calls: CallWriter) -> Reading[bool]:
    yield from source.skip_whitespace()
    if (yield from source.peek()) in QUOTES:
        return (yield from stream_python_string(source, calls.arguments))
    source.mark()
    value = yield from read_python_value(source)
    if value is None:
        source.take_back()
        return False
    source.unmark()
    yield calls.arguments(value)
    return True


def _arguments(parameters: Sequence[Parameter]) -> Constraint:
    """Returns the constraint of what stands between the brackets; the first one has no comma before it."""
    written = [Chain((Text(f"{parameter.name}="), _value(parameter))) for parameter in parameters]
    later = [
        part if parameter.is_required else Repeated(part, 0, 1)
        for parameter, one in zip(parameters, written, strict=True)
        for part in (Chain((Text(", "), one)),)
    ]
    if parameters and parameters[0].is_required:
        return Chain((written[0], *later[1:]))
    starts = [Chain((one, *later[index + 1 :])) for index, one in enumerate(written)]
    return OneOf((*starts, Text("")))


def _value(parameter: Parameter) -> Constraint:
    """Python's words where they stand alone; within lists and dicts JSON's."""
    words = {"boolean": ("True", "False"), "null": ("None",)}
    if parameter.choices is None and parameter.kinds and parameter.kinds <= set(words):
        return OneOf(tuple(Text(word) for kind in sorted(parameter.kinds) for word in words[kind]))
    value = Json(parameter.schema)
    if parameter.choices is None and parameter.kinds == {"string", "null"}:
        return OneOf((Text("None"), value))
    return value
