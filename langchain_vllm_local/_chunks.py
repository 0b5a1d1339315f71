"""Pieces of an answer as LangChain's chunks: what is said, what was thought and what is called stay apart."""

from __future__ import annotations

import json

from langchain_core.messages import AIMessageChunk, ToolCallChunk
from langchain_core.messages.tool import tool_call_chunk

REASONING = "reasoning_content"
"""Where `additional_kwargs` has what a model thought."""
_FIRST_OF_OTHERS = 1000
"""Number of the second call of a turn; a stream has fewer turns."""


class ChunkWriter:
    """Writes the chunks of one stream, each of which holds one kind of thing.

    With `output_version="v1"` LangChain numbers a stream's blocks of text and reasoning itself, 0, 1, …, one more with
    every change of kind, and then adds up blocks of one number. A tool call with a number of its own, from 0,
    would be added to the text before it. So the first of several calls has the number of its kind's turn, and the
    others have numbers that LangChain's never reach: text may come behind them.
    """

    def __init__(self) -> None:
        """Begins a stream."""
        self._kind = ""
        self._num_changes = 0
        self._indexes: dict[int, int] = {}
        self._last_number = 0
        self._last_arguments = ""

    def text(self, text: str) -> AIMessageChunk:
        """Returns a piece of what is said."""
        if text:
            self._enter("text")
        return AIMessageChunk(content=text)

    def reasoning(self, text: str) -> AIMessageChunk:
        """Returns a piece of what was thought."""
        self._enter("reasoning")
        return AIMessageChunk(content="", additional_kwargs={REASONING: text})

    def call(
        self, index: int, *, call_id: str | None = None, name: str | None = None, arguments: str | None = None
    ) -> AIMessageChunk:
        """Returns a piece of a tool call.

        Args:
            index: The call's number within the answer.
            call_id: Its id, with the first piece.
            name: The tool's name, with the first piece.
            arguments: What is new of its arguments' JSON text.
        """
        self._enter("call")
        if index not in self._indexes:
            taken = self._indexes.values()
            first = self._num_changes - 1
            self._indexes[index] = first if first not in taken else max(_FIRST_OF_OTHERS, max(taken) + 1)
        number = self._indexes[index]
        if number != self._last_number or name:
            self._last_number, self._last_arguments = number, ""
        self._last_arguments += arguments or ""
        chunk = tool_call_chunk(name=name, args=arguments, id=call_id, index=number)
        return AIMessageChunk(content="", tool_call_chunks=[chunk])

    def cut_off(self) -> list[ToolCallChunk]:
        """Returns what the last chunk of an answer that was cut off adds to the call that this happened in, if any.

        LangChain completes the JSON of a stream's calls as well as it can, and an agent would go on to run them. A
        bracket that closes nothing keeps it from that: the call is in `invalid_tool_calls`, as in a whole answer.
        """
        if self._kind != "call" or _is_json(self._last_arguments):
            return []
        return [tool_call_chunk(args=_wrong_end(self._last_arguments), index=self._last_number)]

    def _enter(self, kind: str) -> None:
        if kind != self._kind:
            self._kind = kind
            self._num_changes += 1


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _wrong_end(text: str) -> str:
    """Returns what ends the beginning of a JSON text in a way that nobody can complete."""
    brackets: list[str] = []
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "{[":
            brackets.append(character)
        elif character in "}]" and brackets:
            brackets.pop()
    quote = "" if not in_string else '\\"' if escaped else '"'
    return quote + ("}" if brackets[-1:] == ["["] else "]")
