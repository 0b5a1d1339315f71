"""Chat messages as plain dictionaries, the way chat templates take them."""

from collections.abc import Mapping
from typing import Any

Message = dict[str, Any]


def system(content: str) -> Message:
    """Return a system message."""
    return {"role": "system", "content": content}


def user(content: str, name: str | None = None) -> Message:
    """Return a user message, with the user's name if given."""
    message: Message = {"role": "user", "content": content}
    return {**message, "name": name} if name else message


def assistant(content: str) -> Message:
    """Return an assistant message."""
    return {"role": "assistant", "content": content}


def tool_message(content: str) -> Message:
    """Return a tool's message."""
    return {"role": "tool", "content": content}


def calling(*calls: tuple[str, Mapping[str, Any]]) -> Message:
    """Return an assistant message that calls tools, each given by its name and its arguments."""
    made = [{"function": {"name": name, "arguments": dict(arguments)}} for name, arguments in calls]
    return {"role": "assistant", "content": "", "tool_calls": made}


def exchange(question: str, answer: str) -> list[Message]:
    """Return a question and its answer."""
    return [user(question), assistant(answer)]
