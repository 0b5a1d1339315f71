"""Chat messages as plain dictionaries, the way chat templates take them."""

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


def exchange(question: str, answer: str) -> list[Message]:
    """Return a question and its answer."""
    return [user(question), assistant(answer)]
