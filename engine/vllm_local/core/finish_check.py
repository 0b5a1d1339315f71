"""When an answer ends by itself: end tokens, stop tokens, `max_tokens` and the end of the context."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_local.request import FinishReason, Request


@dataclass(frozen=True, slots=True)
class Finish:
    """How an answer ended.

    Attributes:
        reason: Why.
        stop_reason: The stop token id; None for the model's own end token and for length.
        has_end_token: Whether the answer's last token is one that ended it, and so no part of its text.
    """

    reason: FinishReason
    stop_reason: int | None = None
    has_end_token: bool = False


_END_TOKEN = Finish(FinishReason.STOP, has_end_token=True)
_LENGTH = Finish(FinishReason.LENGTH)


def check_finish(request: Request, max_model_len: int) -> Finish | None:
    """Returns how the answer ended with its last token, or None where it goes on.

    An end or stop token counts only after `min_tokens` others (as the sampler masks them until then), an end token
    only without `ignore_eos`. Where a token is both, it is the end token, and where the length is reached as well,
    the token wins; so vLLM has it.

    Args:
        request: A request with at least one output token.
        max_model_len: Longest prompt and answer together, in tokens.
    """
    num_output_tokens, token_id = len(request.output_token_ids), request.output_token_ids[-1]
    if token_id in request.ending_token_ids and num_output_tokens > request.sampling_params.min_tokens:
        if token_id in request.eos_token_ids and not request.sampling_params.ignore_eos:
            return _END_TOKEN
        return Finish(FinishReason.STOP, token_id, has_end_token=True)
    if num_output_tokens >= request.max_tokens or request.num_tokens >= max_model_len:
        return _LENGTH
    return None


def append_tokens(request: Request, token_ids: list[int], max_model_len: int) -> tuple[list[int], Finish | None]:
    """Appends new tokens to the answer, up to the one that ends it.

    Args:
        request: The request.
        token_ids: Its new tokens.
        max_model_len: Longest prompt and answer together, in tokens.

    Returns:
        The tokens that were appended, and how the answer ended or None.
    """
    for count, token_id in enumerate(token_ids, start=1):
        request.output_token_ids.append(token_id)
        finish = check_finish(request, max_model_len)
        if finish is not None:
            return token_ids[:count], finish
    return token_ids, None
