"""Other ways to say the same conversation, for templates that refuse it as it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vllm_local.chat.messages import Message, as_parts

_SYSTEM_ROLES = ("system", "developer")
_MERGED_KEYS = {"role", "content", "name"}


def conversation_variants(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Yields the conversation as it stands, then what differs: neighbours merged, then system messages folded too.

    Many templates demand that user and assistant alternate (Mistral, Gemma), some know no system role (Gemma).
    """
    variants = [list(messages), merge_neighbours(messages), merge_neighbours(fold_system(messages))]
    for index, variant in enumerate(variants):
        if variant not in variants[:index]:
            yield variant


def merge_neighbours(messages: Sequence[Message]) -> list[Message]:
    """Joins messages in a row that have one role and name; those with tool calls or results stay apart."""
    merged: list[Message] = []
    for message in messages:
        if merged and _can_merge(merged[-1], message):
            merged[-1] = {**merged[-1], "content": _join(merged[-1], message)}
        else:
            merged.append(message)
    return merged


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """Puts what system messages say before the user message that follows them, or into one of its own."""
    folded: list[Message] = []
    pending: list[Message] = []
    for message in messages:
        if message["role"] in _SYSTEM_ROLES:
            pending.append({"role": "user", "content": message["content"]})
            continue
        folded += pending
        pending = []
        folded.append(message)
    return folded + pending


def _can_merge(first: Message, second: Message) -> bool:
    if first["role"] != second["role"] or first["role"] in {"tool", "function"}:
        return False
    plain = set(first) <= _MERGED_KEYS and set(second) <= _MERGED_KEYS
    return plain and first.get("name") == second.get("name")


def _join(first: Message, second: Message) -> str | list[Message]:
    one, other = first["content"], second["content"]
    if isinstance(one, str) and isinstance(other, str):
        return f"{one}\n\n{other}"
    return [*as_parts(one), *as_parts(other)]
