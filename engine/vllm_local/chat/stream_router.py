"""One router for every way in: an answer's text, in pieces of any size, to content, reasoning and tool calls."""

from __future__ import annotations

from collections.abc import Callable

from vllm_local.chat.deltas import ContentDelta, Delta, ParsedAnswer, collect_deltas, join_deltas
from vllm_local.chat.reasoning_formats.base import ReasoningFormat, ReasoningState
from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter, ToolFormat
from vllm_local.chat.tools import ToolRequest

_LONGEST_PIECE = 2048
"""Longer ones are cut, since each look at unread text copies it."""


class StreamRouter:
    """Routes one answer.

    Whole answers go through the same code as streams, so the deltas of a text add up to one thing however it is cut:
    a call that `max_tokens` cuts off keeps its id, its name and as much of its arguments as there is.

    No more text is held back than what may yet turn out to be markup.
    """

    def __init__(
        self,
        reasoning_format: ReasoningFormat | None = None,
        tool_format: ToolFormat | None = None,
        tools: ToolRequest | None = None,
        *,
        reasoning_state: ReasoningState = "free",
        make_id: Callable[[], str] | None = None,
    ) -> None:
        """Begins an answer.

        Args:
            reasoning_format: The model's; None leaves its thoughts where they are.
            tool_format: The model's; calls are read only with tools that may be called.
            tools: What the request says of tools.
            reasoning_state: How the prompt leaves off.
            make_id: Returns a call's id; the format's own by default.
        """
        self._source = TextSource()
        self._reasoning_format = reasoning_format
        self._reasoning_state: ReasoningState = reasoning_state
        self._tool_format = tool_format
        callable_tools = tools.callable_tools if tools is not None and tool_format is not None else ()
        self._calls: CallWriter | None = None
        if tool_format is not None and callable_tools:
            self._calls = CallWriter(self._source, callable_tools, make_id or tool_format.make_call_id)
        self._reading: Reading[None] | None = self._read()

    @property
    def num_calls(self) -> int:
        """How many calls have begun; a finish reason depends on it."""
        return 0 if self._calls is None else self._calls.count

    def feed(self, text: str) -> list[Delta]:
        """Returns what a piece of text says, as far as that is known."""
        deltas: list[Delta] = []
        for start in range(0, len(text), _LONGEST_PIECE):
            self._source.push(text[start : start + _LONGEST_PIECE])
            deltas += self._advance()
        return list(join_deltas(deltas))

    def finish(self) -> list[Delta]:
        """Returns what has been held back; nothing comes after it."""
        self._source.end()
        return list(join_deltas(self._advance()))

    def _advance(self) -> list[Delta]:
        """Reads as far as the text goes."""
        deltas: list[Delta] = []
        if self._reading is None:
            return deltas
        for delta in self._reading:
            if delta is None:
                return deltas
            deltas.append(delta)
        self._reading = None
        return deltas

    def _read(self) -> Reading[None]:
        if self._reasoning_format is None:
            yield from self._read_rest()
        else:
            state = self._reasoning_state
            yield from self._reasoning_format.read(self._source, state, self._calls, self._read_rest)

    def _read_rest(self) -> Reading[None]:
        if self._tool_format is not None and self._calls is not None:
            yield from self._tool_format.read(self._source, self._calls)
        yield from self._source.stream_until((), ContentDelta)


def parse_answer(router: StreamRouter, text: str) -> ParsedAnswer:
    """Returns what a whole text says; the router must be new."""
    return collect_deltas([*router.feed(text), *router.finish()])
