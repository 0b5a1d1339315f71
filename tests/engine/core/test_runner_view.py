"""The runner hears of everything once."""

from __future__ import annotations

import pytest

from tests.engine.core.fakes import make_request
from vllm_local.core.runner_view import RunnerView
from vllm_local.outputs import TokenLogprobs
from vllm_local.step_io import SchedulerOutput


@pytest.fixture
def view():
    return RunnerView()


def test_a_new_request_goes_out_whole(view):
    request = make_request("a", [1, 2, 3], seed=7, eos=[2])
    request.output_token_ids, request.num_computed_tokens = [4], 2
    step = SchedulerOutput()
    view.add_new(step, request, ([5],))
    (data,) = step.scheduled_new_requests
    assert data.token_ids == [1, 2, 3, 4]
    assert (data.num_prompt_tokens, data.num_computed_tokens, data.block_ids) == (3, 2, ([5],))
    assert data.sampling_params is request.sampling_params
    assert (data.seed, data.choice_index, data.eos_token_ids) == (7, 0, frozenset([2]))
    assert list(view.known_request_ids) == ["a"]


def test_a_known_request_goes_out_as_what_changed(view):
    request = make_request("a", [1, 2, 3])
    view.add_new(SchedulerOutput(), request, ([5],))
    request.num_computed_tokens = 3
    request.output_token_ids += [4, 5]
    step = SchedulerOutput()
    view.add_cached(step, request, ([6],))
    view.add_cached(step, request, ([],))
    assert list(step.scheduled_cached_requests) == [("a", [4, 5], ([6],), 3), ("a", [], ([],), 3)]


def test_drops_go_out_once_and_only_for_what_is_known(view):
    known, preempted, stranger = (make_request(name, 1) for name in ("known", "preempted", "stranger"))
    for request in (known, preempted):
        view.add_new(SchedulerOutput(), request, ([],))
    view.drop_finished(known)
    view.drop_finished(stranger)
    view.drop_preempted(preempted)
    view.drop_finished(preempted)
    step, after = SchedulerOutput(), SchedulerOutput()
    view.hand_over_drops(step)
    view.hand_over_drops(after)
    assert (step.finished_request_ids, step.preempted_request_ids) == (["known"], ["preempted"])
    assert (after.finished_request_ids, after.preempted_request_ids) == ([], [])
    assert not view.known_request_ids


def test_drops_of_a_failed_step_go_out_again_once(view):
    request = make_request("a", 1)
    step = SchedulerOutput(finished_request_ids=["old"], preempted_request_ids=["a"])
    view.add_new(step, request, ([],))
    view.drop_preempted(request)
    view.take_back_drops(step)
    again = SchedulerOutput()
    view.hand_over_drops(again)
    assert (again.finished_request_ids, again.preempted_request_ids) == (["old"], ["a"])


def test_a_request_that_asks_for_them_says_where_its_prompt_logprobs_go_on(view):
    request = make_request("a", [1, 2, 3], prompt_logprobs=1)
    request.bad_words_token_ids = ((4, 5),)
    request.prompt_logprobs.append(TokenLogprobs(2, -1.0, 1))
    step = SchedulerOutput()
    view.add_new(step, request, ([],))
    view.add_new(step, make_request("b", 1), ([],))
    assert [data.prompt_logprobs_start for data in step.scheduled_new_requests] == [1, None]
    assert [data.bad_words_token_ids for data in step.scheduled_new_requests] == [((4, 5),), ()]
