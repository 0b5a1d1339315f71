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
    logprobs: Sequence[dict[int, Logprob] | None] | None,
    *,
    as_token_ids: bool,
    text_offset: int = 0,
    first_token: str = "",
) -> dict[str, Any] | None:
    """Returns the `logprobs` of a completion's choice; None where they were not asked for.

    Args:
        token_ids: The sampled tokens, and before them the prompt's where that is echoed.
        logprobs: For each, the log-probabilities by token id: the token's own, and those of the alternatives. None for
            a prompt's first token, which follows nothing.
        as_token_ids: Spell tokens "token_id:42".
        text_offset: Characters before the first of these tokens.
        first_token: Text of the prompt's first token, where that is echoed.
    """
    if logprobs is None:
        return None
    shape: dict[str, list[Any]] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
    unknown = Logprob(0.0, decoded_token=first_token)
    for token_id, by_id in zip(token_ids, logprobs, strict=True):
        own = unknown if by_id is None else by_id[token_id]
        shape["text_offset"].append(text_offset)
        shape["token_logprobs"].append(None if by_id is None else _finite(own))
        shape["tokens"].append(_spell(token_id, own, as_token_ids))
        shape["top_logprobs"].append(None if by_id is None else _completion_tops(by_id, as_token_ids))
        text_offset += len(own.decoded_token or "")
    return shape


def num_characters(
    token_ids: Sequence[int], logprobs: Sequence[dict[int, Logprob] | None] | None, first_token: str = ""
) -> int:
    """Returns how far `text_offset` moves over these tokens; arguments as for `completion_logprobs`."""
    pairs = zip(token_ids, logprobs or [], strict=False)
    texts = (first_token if by_id is None else by_id[token_id].decoded_token or "" for token_id, by_id in pairs)
    return sum(map(len, texts))


def prompt_logprobs_body(
    prompt_logprobs: Sequence[dict[int, Logprob] | None] | None,
) -> list[dict[str, dict[str, Any]] | None] | None:
    """Returns the `prompt_logprobs` of an answer, vLLM's own field: one entry a token, by token id, the first None."""
    if prompt_logprobs is None:
        return None
    return [
        None if by_id is None else {str(token_id): _prompt_entry(item) for token_id, item in by_id.items()}
        for by_id in prompt_logprobs
    ]


def _prompt_entry(item: Logprob) -> dict[str, Any]:
    return {"logprob": _finite(item), "rank": item.rank, "decoded_token": item.decoded_token}


def _completion_tops(by_id: dict[int, Logprob], as_token_ids: bool) -> dict[str, float]:
    return {_spell(token_id, item, as_token_ids): _finite(item) for token_id, item in by_id.items()}


def _best(by_id: dict[int, Logprob]) -> list[int]:
    def rank(token_id: int) -> tuple[bool, int]:
        known = by_id[token_id].rank
        return known is None, known or 0

    return sorted(by_id, key=rank)


def _token_entry(token_id: int, item: Logprob, as_token_ids: bool) -> dict[str, Any]:
    text = item.decoded_token
    # A token that holds part of a character reads as U+FFFD; its bytes cannot be told from that text.
    encoded = None if text is None or "\ufffd" in text else list(text.encode())
    return {"token": _spell(token_id, item, as_token_ids), "logprob": _finite(item), "bytes": encoded}


def _spell(token_id: int, item: Logprob, as_token_ids: bool) -> str:
    return f"token_id:{token_id}" if as_token_ids else item.decoded_token or ""


def _finite(item: Logprob) -> float:
    return max(item.logprob, LOWEST)
