"""What an answer must look like, given its tools, its response format and how its model thinks."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_local.chat.reasoning_formats.base import ReasoningFormat, ReasoningState
from vllm_local.chat.tool_formats.base import ToolFormat
from vllm_local.chat.tools import ToolRequest
from vllm_local.grammar_spec import Chain, Constraint


@dataclass(frozen=True)
class AnswerConstraint:
    """A constraint and where it begins.

    Attributes:
        constraint: Of the answer, or of the rest of it.
        starts_after: The text behind which it begins; None where it holds from the first token on.
    """

    constraint: Constraint
    starts_after: str | None = None


def constrain_answer(
    tools: ToolRequest,
    response: Constraint | None,
    tool_format: ToolFormat,
    reasoning_format: ReasoningFormat | None = None,
    reasoning_state: ReasoningState = "closed",
) -> AnswerConstraint | None:
    """Returns the constraint of an answer; None if anything goes.

    With tools and a response format the answer is a call or what the format says. Thoughts are free.

    Args:
        tools: The tools and how they may be called.
        response: What an answer that is no call must look like.
        tool_format: The model's.
        reasoning_format: The model's; None if it does not think.
        reasoning_state: How the prompt leaves off.

    Raises:
        InvalidRequestError: A tool's schema cannot be kept in the format.
    """
    constraint = tool_format.constraint(tools, response)
    if constraint is None or reasoning_format is None:
        return None if constraint is None else AnswerConstraint(constraint)
    before = reasoning_format.before(reasoning_state)
    if before is not None:
        constraint = Chain((before, constraint))
    return AnswerConstraint(constraint, reasoning_format.end if reasoning_state == "open" else None)
