"""When an answer ends, as one table."""

from __future__ import annotations

import pytest

from tests.engine.core.fakes import make_request
from vllm_local.core.finish_check import Finish, append_tokens
from vllm_local.request import FinishReason

EOS, STOP, PLAIN = 2, 3, 10
LENGTH = Finish(FinishReason.LENGTH)
END = Finish(FinishReason.STOP, has_end_token=True)
STOPPED = Finish(FinishReason.STOP, STOP, has_end_token=True)


@pytest.mark.parametrize(
    ("params", "tokens", "kept", "finish"),
    [
        ({}, [PLAIN], 1, None),
        ({}, [PLAIN, EOS], 2, END),
        ({}, [EOS, PLAIN, PLAIN], 1, END),
        ({"ignore_eos": True}, [EOS, PLAIN], 2, None),
        ({"stop_token_ids": [STOP]}, [PLAIN, STOP, PLAIN], 2, STOPPED),
        ({"stop_token_ids": [EOS]}, [EOS], 1, END),
        ({"stop_token_ids": [EOS], "ignore_eos": True}, [EOS], 1, Finish(FinishReason.STOP, EOS, has_end_token=True)),
        ({"stop_token_ids": [STOP], "ignore_eos": True}, [EOS, STOP], 2, STOPPED),
        ({"min_tokens": 2}, [EOS, EOS, PLAIN], 3, None),
        ({"min_tokens": 2}, [PLAIN, EOS, EOS, PLAIN], 3, END),
        ({"min_tokens": 2, "stop_token_ids": [STOP]}, [STOP, STOP, STOP], 3, STOPPED),
        ({"max_tokens": 2}, [PLAIN, PLAIN, PLAIN], 2, LENGTH),
        ({"max_tokens": 2}, [PLAIN, EOS], 2, END),
        ({"max_tokens": 2, "min_tokens": 2}, [EOS, EOS], 2, LENGTH),
        ({"max_tokens": 20}, [PLAIN] * 9, 5, LENGTH),
        ({"max_tokens": 20, "min_tokens": 20}, [EOS] * 9, 5, LENGTH),
    ],
)
def test_the_answer_ends(params, tokens, kept, finish):
    request = make_request("a", 5, **{"max_tokens": 8, **params}, eos=[EOS])
    assert append_tokens(request, tokens, max_model_len=10) == (tokens[:kept], finish)
    assert request.output_token_ids == tokens[:kept]


def test_tokens_of_several_steps_count_together():
    request = make_request("a", 1, max_tokens=3, eos=[EOS])
    assert append_tokens(request, [PLAIN, PLAIN], 100) == ([PLAIN, PLAIN], None)
    assert append_tokens(request, [PLAIN, PLAIN], 100) == ([PLAIN], LENGTH)
    assert request.output_token_ids == [PLAIN] * 3
