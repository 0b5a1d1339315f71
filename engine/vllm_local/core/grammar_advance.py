"""A grammar follows its answer, and goes ahead where it leaves only one way."""

from __future__ import annotations

from vllm_local.core.finish_check import Finish, append_tokens
from vllm_local.request import FinishReason, Request

_FAILED = Finish(FinishReason.ERROR)


def advance_grammar(request: Request, token_ids: list[int], max_model_len: int) -> tuple[list[int], Finish | None]:
    """Lets a request's grammar take in new tokens, and appends those that it forces.

    Forced tokens are not sampled: the next step computes all of them at once, as it would a prompt's. Where the
    grammar is fulfilled and nothing may follow, the forced token is the end token, which ends the answer.

    Args:
        request: A request with a grammar, whose answer goes on.
        token_ids: The tokens that were appended to it last.
        max_model_len: Longest prompt and answer together, in tokens.

    Returns:
        The forced tokens that were appended, and how the answer ended with them or None. Where the grammar fails the
        answer ends with an error, and `Request.grammar_error` says why.
    """
    assert request.grammar is not None, "only a request with a grammar advances one"
    try:
        if not request.grammar.accept(token_ids):
            request.grammar_error = f"its grammar does not allow tokens {token_ids}"
            return [], _FAILED
        forced = request.grammar.forced_tokens() if request.takes_forced_tokens else []
        appended, finish = append_tokens(request, forced, max_model_len)
        if finish is None and not request.grammar.accept(appended):
            request.grammar_error = f"its grammar does not allow tokens {appended}, which it forced"
            finish = _FAILED
    except Exception as error:  # noqa: BLE001 - one request's grammar must not stop the others'
        request.grammar_error = f"its grammar gave up: {error}"
        return [], _FAILED
    return appended, finish
