"""Pieces of an answer as LangChain's chunks: what is said, what was thought and what is called stay apart."""

from __future__ import annotations

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk

REASONING = "reasoning_content"
"""Where `additional_kwargs` has what a model thought."""


class ChunkWriter:
    """Writes the chunks of one stream, each of which holds one kind of thing.

    With `output_version="v1"` LangChain numbers a stream's blocks of text and reasoning itself, 0, 1, …, one more with
    every change of kind, and then adds up blocks of one number. A tool call that came with a number of its own, from 0,
    would be added to the text before it. So calls are numbered on from the blocks before them.
    """

    def __init__(self) -> None:
        """Begins a stream."""
        self._kind = ""
        self._num_changes = 0
        self._indexes: dict[int, int] = {}

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
        number = self._indexes.setdefault(index, max([self._num_changes - 1, *(i + 1 for i in self._indexes.values())]))
        chunk = tool_call_chunk(name=name, args=arguments, id=call_id, index=number)
        return AIMessageChunk(content="", tool_call_chunks=[chunk])

    def _enter(self, kind: str) -> None:
        if kind != self._kind:
            self._kind = kind
            self._num_changes += 1
