"""What a format of tool calls is: how its calls look on the wire, as a constraint and as a reader of text."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from vllm_local.chat.deltas import ToolCallArguments, ToolCallStart
from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tools import Tool, ToolRequest
from vllm_local.grammar_spec import Chain, Constraint, FreeText, OneOf, Repeated, Text


class CallWriter:
    """Numbers and names the calls of one answer.

    Attributes:
        count: How many have begun.
    """

    def __init__(self, source: TextSource, tools: Sequence[Tool], make_id: Callable[[], str]) -> None:
        """Begins an answer without calls.

        Args:
            source: What the answer is read from.
            tools: The tools that it may call.
            make_id: Returns a new id for a call.
        """
        self._source = source
        self._tools = {tool.name: tool for tool in tools}
        self._make_id = make_id
        self.count = 0

    def knows(self, name: str) -> bool:
        """Whether there is a tool of that name."""
        return name in self._tools

    def tool(self, name: str) -> Tool | None:
        """Returns a tool by its name."""
        return self._tools.get(name)

    def begin(self, name: str) -> ToolCallStart:
        """Returns the beginning of the next call. From here on its text is not taken back."""
        self._source.unmark()
        self.count += 1
        return ToolCallStart(self.count - 1, self._make_id(), name)

    def arguments(self, text: str) -> ToolCallArguments:
        """Returns a piece of the last call's arguments."""
        return ToolCallArguments(self.count - 1, text)


class ToolFormat(ABC):
    """One way to write tool calls.

    Attributes:
        name: Ours; what the log says.
        vllm_parser_names: What vLLM calls it as `--tool-call-parser`.
        signs: What a chat template for it shows. Formats that share signs stand in an order, the narrower first.
        openers: A call begins with one of them, and other text holds none of them.
        markers: Texts that it is told apart by, where they are special tokens: a text to read must show them.
        describes_tools: The template cannot say what tools there are, so the system prompt does.
    """

    name: ClassVar[str]
    vllm_parser_names: ClassVar[tuple[str, ...]] = ()
    signs: ClassVar[tuple[str, ...]] = ()
    openers: ClassVar[tuple[str, ...]] = ()
    markers: ClassVar[tuple[str, ...]] = ()
    describes_tools: ClassVar[bool] = False

    def matches(self, template: str) -> bool:
        """Whether a chat template asks for calls of this format, as far as its signs say."""
        return all(sign in template for sign in self.signs)

    @abstractmethod
    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """Returns what one call of the tools must look like, or several in a row.

        Raises:
            InvalidRequestError: A tool's schema cannot be kept in this format.
        """

    @abstractmethod
    def read(self, source: TextSource, calls: CallWriter) -> Reading[None]:
        """Yields an answer's content and calls.

        What turns out to be no call is content; a call that has begun keeps all that belongs to it as its arguments.
        """

    def constraint(self, request: ToolRequest, response: Constraint | None = None) -> Constraint | None:
        """Returns what an answer must look like; None if anything goes.

        Args:
            request: The tools and how they may be called.
            response: What an answer that is no call must look like.

        Raises:
            InvalidRequestError: A tool's schema cannot be kept in this format.
        """
        tools = request.callable_tools
        if not tools:
            return response
        calls = self.calls(tools, request.one_call_only)
        if request.choice.mode == "required":
            return calls
        return self.either(calls, response)

    def either(self, calls: Constraint, response: Constraint | None) -> Constraint:
        """Returns the choice between calls and an answer; a free answer may go before calls."""
        if response is not None:
            return OneOf((calls, response))
        return Chain((FreeText(self.openers), Repeated(calls, 0, 1)))

    def make_call_id(self) -> str:
        """Returns a new id for a call, in vLLM's form."""
        return f"chatcmpl-tool-{uuid.uuid4().hex[:16]}"


MAX_CALLS = 32
"""Calls in one turn: a weak model that may call again does so until its budget ends."""


def in_a_row(call: Constraint, one_only: bool, separator: str = "") -> Constraint:
    """Returns a call, or one to `MAX_CALLS` with a separator."""
    if one_only:
        return call
    return Repeated(call, minimum=1, maximum=MAX_CALLS, separator=Text(separator) if separator else None)


def any_of(options: Sequence[Constraint]) -> Constraint:
    """Returns one of several; the thing itself if it is one."""
    return options[0] if len(options) == 1 else OneOf(tuple(options))
