"""The answers to one conversation, read: what is said, what was thought, what is called."""

from __future__ import annotations

from collections.abc import Callable

from vllm_local.chat.chat_format import PreparedChat
from vllm_local.chat.deltas import Delta, ParsedAnswer, ReasoningDelta, collect_deltas
from vllm_local.chat.tools import ToolRequest
from vllm_local.server.answers import Answer
from vllm_local.server.usage import UsageCounter


class AnswerRouting:
    """Reads each answer with a router of its own, in pieces or as a whole.

    Attributes:
        usage: Counts the answers' tokens.
    """

    def __init__(
        self,
        chat: PreparedChat,
        tools: ToolRequest,
        usage: UsageCounter,
        count_tokens: Callable[[str], int],
        *,
        n: int = 1,
        include_reasoning: bool = True,
    ) -> None:
        """Begins to read.

        Args:
            chat: The conversation.
            tools: What the request says of tools.
            usage: Counts tokens; told how many were thoughts, if the model thinks.
            count_tokens: Returns a text's length in the model's tokens.
            n: How many answers there are.
            include_reasoning: Show what the model thought.
        """
        self._routers = [chat.make_router() for _ in range(n)]
        self._thoughts: list[list[str]] = [[] for _ in range(n)]
        self._is_named = tools.choice.is_named
        self.usage = usage
        self._count_tokens = count_tokens
        self._include_reasoning = include_reasoning
        if chat.reasoning_format is not None:
            usage.count_reasoning(0)

    def feed(self, index: int, text: str, *, is_last: bool) -> list[Delta]:
        """Returns what a new piece of an answer says, as far as that is known; all of it with the last piece."""
        router = self._routers[index]
        deltas = router.feed(text)
        if is_last:
            deltas += router.finish()
        thoughts = [delta.text for delta in deltas if isinstance(delta, ReasoningDelta)]
        self._thoughts[index] += thoughts
        if is_last and self._thoughts[index]:
            thought = "".join(self._thoughts[index])
            self.usage.count_reasoning(self._count_tokens(thought))
        if thoughts and not self._include_reasoning:
            return [delta for delta in deltas if not isinstance(delta, ReasoningDelta)]
        return deltas

    def read(self, index: int, answer: Answer) -> ParsedAnswer:
        """Returns what a whole answer says."""
        return collect_deltas(self.feed(index, answer.text, is_last=True))

    def finish_reason(self, index: int, reason: str | None) -> str | None:
        """Returns why an answer ended: one that ends with calls ends for them, unless the request named the tool."""
        is_for_calls = reason == "stop" and self._routers[index].num_calls > 0 and not self._is_named
        return "tool_calls" if is_for_calls else reason
