"""DeepSeek V3, R1 and V3.1: names and JSON between special tokens."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter, ToolFormat, any_of, in_a_row
from vllm_local.chat.tool_formats.reading import read_answer, read_named_call
from vllm_local.chat.tools import Tool
from vllm_local.grammar_spec import Chain, Constraint, Json, Text

_OPEN, _CLOSE = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_OPEN_CALL, _SEPARATOR, _CLOSE_CALL = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_FENCE = "```"


class _DeepSeek(ToolFormat):
    """Reads both; they differ in what a call is made to look like."""

    openers = (_OPEN, _OPEN_CALL)
    markers = (_OPEN, _OPEN_CALL, _SEPARATOR, _CLOSE_CALL, _CLOSE)

    def read(self, source: TextSource, calls: CallWriter) -> Reading[None]:
        """The outer markers may be missing."""

        def read_call() -> Reading[bool]:
            return (yield from self._read_call(source, calls))

        def read_block() -> Reading[bool]:
            yield from source.skip_whitespace()
            return bool((yield from source.accept(_OPEN_CALL))) and (yield from read_call())

        readers = {_OPEN: read_block, _OPEN_CALL: read_call}
        yield from read_answer(source, calls, readers, (_CLOSE_CALL, _CLOSE))

    def _read_call(self, source: TextSource, calls: CallWriter) -> Reading[bool]:
        """Where a name stands before the separator, its arguments follow; else the call's type does."""
        name = yield from source.read_until(_SEPARATOR, _CLOSE_CALL)
        if name is None or not (yield from source.accept(_SEPARATOR)):
            return False
        yield from source.skip_whitespace()
        if (yield from source.peek()) != "{":
            name = yield from source.read_until("\n", _FENCE, _CLOSE_CALL)
            yield from source.skip_whitespace()
            if (yield from source.accept(_FENCE)):
                yield from source.accept("json")
        if not (yield from read_named_call(source, calls, name, (_CLOSE_CALL,))):
            return False
        yield from source.skip_whitespace()
        yield from source.accept(_FENCE)
        return True


class DeepSeekV3(_DeepSeek):
    """The call's type, the name, and the arguments as a block of code."""

    name = "deepseek_v3"
    vllm_parser_names = ("deepseek_v3",)
    signs = (_OPEN, f"{_FENCE}json")

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """A line break between calls."""
        heads = [Text(f"{_OPEN_CALL}function{_SEPARATOR}{tool.name}\n{_FENCE}json\n") for tool in tools]
        tail = Text(f"\n{_FENCE}{_CLOSE_CALL}")
        call = any_of([Chain((head, Json(tool.parameters), tail)) for head, tool in zip(heads, tools, strict=True)])
        return Chain((Text(_OPEN), in_a_row(call, one_only, "\n"), Text(_CLOSE)))


class DeepSeekV31(_DeepSeek):
    """The name and the arguments."""

    name = "deepseek_v31"
    vllm_parser_names = ("deepseek_v31",)
    signs = (_OPEN,)

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """Nothing between calls."""
        heads = [Text(f"{_OPEN_CALL}{tool.name}{_SEPARATOR}") for tool in tools]
        tail = Text(_CLOSE_CALL)
        call = any_of([Chain((head, Json(tool.parameters), tail)) for head, tool in zip(heads, tools, strict=True)])
        return Chain((Text(_OPEN), in_a_row(call, one_only), Text(_CLOSE)))
