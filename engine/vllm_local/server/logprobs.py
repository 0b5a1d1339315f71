"""Log-probabilities in the shapes of OpenAI's two routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vllm_local.outputs import Logprob

LOWEST = -9999.0
"""What minus infinity reads as; JSON has no word for it. vLLM's number."""


def chat_logprobs(
    token_ids: Sequence[int], logprobs: Sequence[dict[int, Logprob]] | None, *, top: int, as_token_ids: bool
) -> dict[str, Any] | None:
    """Returns the `logprobs` of a chat completion's choice; None where they were not asked for.

    Args:
        token_ids: The sampled tokens.
        logprobs: For each, the log-probabilities by token id.
        top: How many alternatives to list, best first.
        as_token_ids: Spell tokens "token_id:42".
    """
    if logprobs is None:
        return None
    content = []
    for token_id, by_id in zip(token_ids, logprobs, strict=True):
        entry = _token_entry(token_id, by_id[token_id], as_token_ids)
        entry["top_logprobs"] = [_token_entry(item, by_id[item], as_token_ids) for item in _best(by_id)[:top]]
        content.append(entry)
    return {"content": content}


def completion_logprobs(
    token_ids: Sequence[int],
    logprobs: Sequence[dict[int, Logprob]] | None,
    *,
    as_token_ids: bool,
    text_offset: int = 0,
) -> dict[str, Any] | None:
    """Returns the `logprobs` of a completion's choice; None where they were not asked for.

    Args:
        token_ids: The sampled tokens.
        logprobs: For each, the log-probabilities by token id: the sampled token's, and those of the alternatives.
        as_token_ids: Spell tokens "token_id:42".
        text_offset: Characters before the first of these tokens.
    """
    if logprobs is None:
        return None
    shape: dict[str, list[Any]] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
    for token_id, by_id in zip(token_ids, logprobs, strict=True):
        shape["text_offset"].append(text_offset)
        shape["token_logprobs"].append(_finite(by_id[token_id]))
        shape["tokens"].append(_spell(token_id, by_id[token_id], as_token_ids))
        shape["top_logprobs"].append({_spell(item, by_id[item], as_token_ids): _finite(by_id[item]) for item in by_id})
        text_offset += len(by_id[token_id].decoded_token or "")
    return shape


def num_characters(token_ids: Sequence[int], logprobs: Sequence[dict[int, Logprob]] | None) -> int:
    """Returns how far `text_offset` moves over these tokens."""
    pairs = zip(token_ids, logprobs or [], strict=False)
    return sum(len(by_id[token_id].decoded_token or "") for token_id, by_id in pairs)


def _best(by_id: dict[int, Logprob]) -> list[int]:
    def rank(token_id: int) -> tuple[bool, int]:
        known = by_id[token_id].rank
        return known is None, known or 0

    return sorted(by_id, key=rank)


def _token_entry(token_id: int, item: Logprob, as_token_ids: bool) -> dict[str, Any]:
    token = _spell(token_id, item, as_token_ids)
    # A token that holds part of a character reads as U+FFFD; its bytes cannot be told from that text.
    is_known = item.decoded_token is not None and "\ufffd" not in item.decoded_token
    return {"token": token, "logprob": _finite(item), "bytes": list(token.encode()) if is_known else None}


def _spell(token_id: int, item: Logprob, as_token_ids: bool) -> str:
    return f"token_id:{token_id}" if as_token_ids else item.decoded_token or ""


def _finite(item: Logprob) -> float:
    return max(item.logprob, LOWEST)
