"""Answers of a given form: from a message's text, or from its tool call, to the caller's type."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, BaseMessageChunk
from langchain_core.output_parsers import BaseTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.utils.json import parse_json_markdown, parse_partial_json
from pydantic import SkipValidation

from langchain_vllm_local._schemas import AnswerSchema


class AnswerParser(BaseTransformOutputParser[Any]):
    """Reads an answer that has a form, and says what is wrong with one that has not.

    A stream yields what there is so far: dicts grow, and instances of a class come once they are valid. Its last item
    is the whole answer, checked.

    Attributes:
        answer: The form.
        from_tool_call: Whether the arguments of a tool call are read, rather than the text.
    """

    answer: SkipValidation[AnswerSchema]
    from_tool_call: bool = False

    @property
    def OutputType(self) -> Any:  # noqa: N802 - LangChain's name
        """What an answer becomes."""
        return self.answer.output_type

    @property
    def _type(self) -> str:
        return "vllm_local_answer"

    def parse(self, text: str) -> Any:
        """Reads a text that is a whole answer.

        Raises:
            OutputParserException: It has not the form that was asked for.
        """
        return self.parse_result([Generation(text=text)])

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Reads a message.

        Args:
            result: One generation.
            partial: The message may yet grow; None is returned where there is nothing to show of it.

        Raises:
            OutputParserException: A whole message has not the form that was asked for.
        """
        generation = result[0]
        message = generation.message if isinstance(generation, ChatGeneration) else AIMessage(generation.text)
        return self._read_partial(message) if partial else self._read(message)

    def _read(self, message: BaseMessage) -> Any:
        text = self._arguments(message) if self.from_tool_call else message.text
        try:
            return self.answer.read(parse_json_markdown(text, parser=json.loads))
        except ValueError as error:
            raise _refusal(self._problem(text, error), message, text) from error

    def _read_partial(self, message: BaseMessage) -> Any:
        try:
            text = self._arguments(message) if self.from_tool_call else message.text
            value = parse_json_markdown(text, parser=parse_partial_json)
            return self.answer.read(value) if self.answer.is_class else value
        except ValueError:  # OutputParserException is one too
            return None

    def _arguments(self, message: BaseMessage) -> str:
        """Returns the arguments of the call as JSON; a call that was cut off is not to be mended.

        Raises:
            OutputParserException: There is no such call.
        """
        for name, arguments in _calls(message):
            if name == self.answer.name:
                return arguments
        called = ", ".join(name for name, _ in _calls(message))
        problem = f"has no call of the tool {self.answer.name!r}" + (f", but of {called}" if called else "")
        raise _refusal(problem, message, message.text)

    def _problem(self, text: str, error: ValueError) -> str:
        if not text.strip():
            return "is empty"
        reason = " ".join(str(error).split())
        if isinstance(error, json.JSONDecodeError):
            return f"is not JSON ({reason})"
        return f"is not what {self.answer.name!r} asks for: {reason}"

    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[Any]:
        growing = _GrowingAnswer(self)
        for chunk in input:
            yield from growing.add(chunk)
        yield from growing.end()

    async def _atransform(self, input: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:
        growing = _GrowingAnswer(self)
        async for chunk in input:
            for item in growing.add(chunk):
                yield item
        for item in growing.end():
            yield item


class _GrowingAnswer:
    """A stream's chunks so far, and what was last shown of them."""

    def __init__(self, parser: AnswerParser) -> None:
        self._parser = parser
        self._message: BaseMessage | None = None
        self._shown: Any = None

    def add(self, chunk: str | BaseMessage) -> Iterator[Any]:
        """Yields what a chunk adds, if that can be seen."""
        message = AIMessageChunk(content=chunk) if isinstance(chunk, str) else chunk
        if isinstance(self._message, BaseMessageChunk):
            self._message = self._message + message
        else:
            self._message = message
        yield from self._show(partial=True)

    def end(self) -> Iterator[Any]:
        """Yields the whole answer, unless it was shown already."""
        if self._message is not None:
            yield from self._show(partial=False)

    def _show(self, *, partial: bool) -> Iterator[Any]:
        assert self._message is not None, "there is a chunk"
        value = self._parser.parse_result([ChatGeneration(message=self._message)], partial=partial)
        if value is not None and value != self._shown:
            self._shown = value
            yield value


def _calls(message: BaseMessage) -> Iterator[tuple[str, str]]:
    """Yields the names and arguments of a message's calls, as they were written where that is known."""
    if isinstance(message, AIMessageChunk) and message.tool_call_chunks:
        for chunk in message.tool_call_chunks:
            yield chunk["name"] or "", chunk["args"] or "{}"
    elif isinstance(message, AIMessage):
        for call in message.tool_calls:
            yield call["name"], json.dumps(call["args"])
        for invalid in message.invalid_tool_calls:
            yield invalid["name"] or "", invalid["args"] or ""


def _refusal(problem: str, message: BaseMessage, text: str) -> OutputParserException:
    metadata: Mapping[str, Any] = message.response_metadata
    hint = " max_tokens, or the context, ended it; allow more." if metadata.get("finish_reason") == "length" else ""
    shown = text if len(text) <= 500 else f"{text[:500]}…"
    return OutputParserException(f"The answer {problem}.{hint} It reads: {shown!r}", llm_output=text)
