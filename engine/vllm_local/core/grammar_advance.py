"""A grammar follows its answer, and goes ahead where it leaves only one way."""

from __future__ import annotations

from dataclasses import replace

from vllm_local.core.finish_check import Finish, append_tokens
from vllm_local.request import FinishReason, Request

_FAILED = Finish(FinishReason.ERROR)
_FULFILLED = Finish(FinishReason.STOP)


def fit_tokens(request: Request, sampled: list[int]) -> list[int]:
    """Returns what to append of tokens that were sampled for a request with a grammar.

    Where they leave no room for the end of the answer, that is what leads there. A token that must have a score is
    sampled all the same: then nothing is appended, and the last token is to be computed once more.

    Args:
        request: A request with a grammar.
        sampled: Tokens that its grammar allows.
    """
    params = request.sampling_params
    if params.allowed_token_ids is not None or params.bad_words:
        # What leads to the end may not be allowed.
        return sampled
    assert request.grammar is not None, "only a request with a grammar fits its tokens to one"
    try:
        fitting = request.grammar.fitting(sampled)
    except Exception as error:  # noqa: BLE001 - one request's grammar must not stop the others'
        request.grammar_error = f"its grammar gave up: {error}"
        return sampled
    if fitting == sampled:
        return sampled
    request.is_cut = fitting[-1] in request.eos_token_ids
    return fitting if request.takes_forced_tokens else []


def advance_grammar(
    request: Request, token_ids: list[int], finish: Finish | None, max_model_len: int
) -> tuple[list[int], Finish | None]:
    """Lets a request's grammar take in new tokens, and appends those that it forces.

    Forced tokens are not sampled: the next step computes all of them at once, as it would a prompt's. Where the
    grammar is fulfilled and nothing may follow, the forced token is the end token, which ends the answer.

    Args:
        request: A request with a grammar.
        token_ids: The tokens that were appended to it last.
        finish: How the answer ended with them, or None.
        max_model_len: Longest prompt and answer together, in tokens.

    Returns:
        The forced tokens that were appended, and how the answer ended with them or None. An answer whose last token
        fulfils the grammar just as its budget ends is whole; one that ends before a call that would not fit is not.
        Where the grammar fails the answer ends with an error, and `Request.grammar_error` says why.
    """
    if request.grammar_error is not None:
        return [], _FAILED
    if finish is not None and finish.has_end_token:
        return [], replace(finish, reason=FinishReason.LENGTH) if request.is_cut else finish
    try:
        return _advance(request, token_ids, finish, max_model_len)
    except Exception as error:  # noqa: BLE001 - one request's grammar must not stop the others'
        request.grammar_error = f"its grammar gave up: {error}"
        return [], _FAILED


def _advance(
    request: Request, token_ids: list[int], finish: Finish | None, max_model_len: int
) -> tuple[list[int], Finish | None]:
    grammar = request.grammar
    assert grammar is not None, "only a request with a grammar advances one"
    if not grammar.accept(token_ids):
        request.grammar_error = f"its grammar does not allow tokens {token_ids}"
        return [], _FAILED
    forced: list[int] = []
    if finish is None and request.takes_forced_tokens:
        forced, finish = append_tokens(request, grammar.forced_tokens(), max_model_len)
        if not (finish is not None and finish.has_end_token) and not grammar.accept(forced):
            request.grammar_error = f"its grammar does not allow tokens {forced}, which it forced"
            return [], _FAILED
    if finish is not None and not finish.has_end_token and grammar.is_terminated():
        finish = _FULFILLED
    return forced, finish
