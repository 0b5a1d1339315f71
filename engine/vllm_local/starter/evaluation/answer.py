"""A model's answer, and what counts as a right one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rule = Literal["exact", "after thinking", "no call"]

_THOUGHT_END = "</think>"
_CALL = "<tool_call>"


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Attributes:
        text: The text as the model wrote it, thoughts and tool calls included.
        stopped: Whether it ended by itself.
        prompt_tokens: Length of what it answered to.
    """

    text: str
    stopped: bool
    prompt_tokens: int = 0


def is_accepted(rule: Rule, expected: str, answer: Answer) -> bool:
    """Whether an answer is right; one that did not end by itself never is.

    Args:
        rule: "exact": the very same text; "after thinking": the same after a finished thought, whatever
            the thought; "no call": any words, but no tool call.
        expected: The right text.
        answer: The model's answer.
    """
    if not answer.stopped:
        return False
    if rule == "no call":
        return _CALL not in answer.text and bool(answer.text.strip())
    if rule == "after thinking" and _THOUGHT_END in answer.text:
        return _after_thinking(answer.text) == _after_thinking(expected)
    return answer.text == expected


def _after_thinking(text: str) -> str:
    return text.partition(_THOUGHT_END)[2].strip()
