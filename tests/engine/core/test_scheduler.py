"""What the scheduler decides, one behaviour a test; the fake runner checks every KV slot that is read."""

from __future__ import annotations

import dataclasses

import pytest

from tests.engine.core.fakes import (
    FakeGrammar,
    FakeRunner,
    expected_answer,
    expected_prompt_logprobs,
    make_request,
    make_scheduler,
    run_all,
    run_step,
)
from vllm_local.errors import ContextLengthError, InvalidConfigError, InvalidRequestError
from vllm_local.outputs import EngineCoreOutput, TokenLogprobs
from vllm_local.request import FinishReason, RequestStatus
from vllm_local.step_io import ModelRunnerOutput


def tokens_by_request(outputs):
    answers: dict[str, list[int]] = {}
    for output in outputs:
        answers.setdefault(output.request_id, []).extend(output.new_token_ids)
    return answers


def finishes(outputs):
    return {output.request_id: output.finish_reason for output in outputs if output.finish_reason}


class TestTokenBudget:
    def test_a_prompt_is_computed_in_chunks_and_sampled_after_the_last(self):
        scheduler, runner = make_scheduler(budget=10), FakeRunner()
        scheduler.add_request(make_request("a", range(25), max_tokens=2))
        steps = [run_step(scheduler, runner) for _ in range(4)]
        assert [step.num_scheduled_tokens for step, _ in steps] == [{"a": 10}, {"a": 10}, {"a": 5}, {"a": 1}]
        assert [len(outputs) for _, outputs in steps] == [0, 0, 1, 1]
        assert tokens_by_request(steps[2][1] + steps[3][1]) == {"a": expected_answer(range(25), 0, 2)}
        assert not scheduler.has_unfinished_requests()

    def test_running_requests_come_first_and_the_rest_of_the_budget_prefills(self):
        scheduler, runner = make_scheduler(budget=10), FakeRunner()
        scheduler.add_request(make_request("a", 4, max_tokens=9))
        run_step(scheduler, runner)
        scheduler.add_request(make_request("b", 20))
        scheduled, _ = run_step(scheduler, runner)
        assert list(scheduled.num_scheduled_tokens.items()) == [("a", 1), ("b", 9)]
        assert scheduled.total_num_scheduled_tokens == 10
        assert scheduled.scheduled_cached_requests.request_ids == ["a"]
        assert [data.request_id for data in scheduled.scheduled_new_requests] == ["b"]

    def test_a_long_prompt_ahead_leaves_every_running_request_its_token(self):
        scheduler, runner = make_scheduler(budget=8, policy="priority"), FakeRunner()
        for name in "ab":
            scheduler.add_request(make_request(name, 3, max_tokens=9))
        run_step(scheduler, runner)
        scheduler.add_request(make_request("urgent", 30, priority=-1))
        first, _ = run_step(scheduler, runner)
        second, _ = run_step(scheduler, runner)
        assert list(first.num_scheduled_tokens.items()) == [("a", 1), ("b", 1), ("urgent", 6)]
        assert list(second.num_scheduled_tokens.items()) == [("urgent", 6), ("a", 1), ("b", 1)]

    def test_no_more_requests_run_than_there_are_seats(self):
        scheduler, runner = make_scheduler(max_num_seqs=2), FakeRunner()
        for name in "abc":
            scheduler.add_request(make_request(name, 3, max_tokens=2))
        scheduled, _ = run_step(scheduler, runner)
        assert list(scheduled.num_scheduled_tokens) == ["a", "b"]
        assert (scheduler.num_running, scheduler.num_waiting) == (2, 1)
        assert finishes(run_all(scheduler, runner)) == dict.fromkeys("abc", FinishReason.LENGTH)

    def test_a_budget_smaller_than_the_running_requests_starves_nobody(self):
        scheduler, runner = make_scheduler(budget=2), FakeRunner()
        for name in "abc":
            scheduler.add_request(make_request(name, 2, max_tokens=3))
        assert finishes(run_all(scheduler, runner)) == dict.fromkeys("abc", FinishReason.LENGTH)

    def test_an_idle_scheduler_schedules_nothing(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        scheduled, outputs = run_step(scheduler, runner)
        assert (scheduled.num_scheduled_tokens, outputs) == ({}, [])
        assert not scheduler.has_unfinished_requests()


class TestOrder:
    def test_priority_goes_first(self):
        scheduler, runner = make_scheduler(max_num_seqs=1, policy="priority"), FakeRunner()
        for name, priority in (("low", 5), ("high", 1), ("middle", 3)):
            scheduler.add_request(make_request(name, 3, max_tokens=1, priority=priority))
        order = [next(iter(run_step(scheduler, runner)[0].num_scheduled_tokens)) for _ in range(3)]
        assert order == ["high", "middle", "low"]

    def test_nobody_overtakes_a_request_that_waits_for_blocks(self):
        scheduler, runner = make_scheduler(num_blocks=8), FakeRunner(num_blocks=8)
        for name, length in (("a", 15), ("large", 24), ("small", 2)):
            scheduler.add_request(make_request(name, length, max_tokens=3))
        scheduled, _ = run_step(scheduler, runner)
        assert list(scheduled.num_scheduled_tokens) == ["a"]
        assert finishes(run_all(scheduler, runner)).keys() == {"a", "large", "small"}
        assert scheduler.num_preemptions_total == 0


class TestPrefixCache:
    def test_siblings_of_one_step_share_the_prompt(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        for index in range(3):
            scheduler.add_request(make_request(f"a{index}", range(10), seed=index))
        scheduled, _ = run_step(scheduler, runner)
        assert scheduled.num_scheduled_tokens == {"a0": 10, "a1": 2, "a2": 2}
        tables = [data.block_ids[0] for data in scheduled.scheduled_new_requests]
        assert tables[0][:2] == tables[1][:2] == tables[2][:2]
        assert scheduler.kv_cache_usage == 5 / 64
        assert (scheduler.prefix_cache_queries, scheduler.prefix_cache_hits) == (30, 16)
        answers = tokens_by_request(run_all(scheduler, runner))
        for index in range(3):
            assert answers[f"a{index}"] == expected_answer(range(10), index, 4)[1:]

    def test_a_prefix_that_is_still_being_prefilled_is_shared(self):
        scheduler, runner = make_scheduler(budget=16), FakeRunner()
        scheduler.add_request(make_request("a", range(20)))
        run_step(scheduler, runner)
        scheduler.add_request(make_request("b", [*range(18), 99, 98]))
        scheduled, _ = run_step(scheduler, runner)
        assert scheduled.num_scheduled_tokens == {"a": 4, "b": 4}
        assert scheduled.scheduled_new_requests[0].num_computed_tokens == 16

    def test_a_finished_prompt_is_found_and_reported(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        scheduler.add_request(make_request("a", range(12)))
        assert {output.num_cached_tokens for output in run_all(scheduler, runner)} == {0}
        scheduler.add_request(make_request("b", range(12)))
        outputs = run_all(scheduler, runner)
        assert {output.num_cached_tokens for output in outputs} == {8}
        assert tokens_by_request(outputs) == {"b": expected_answer(range(12), 0, 4)}
        assert runner.num_computed_total == 15 + 7

    @pytest.mark.parametrize(
        ("first", "second", "num_hits"),
        [((), (), 8), (("x",), ("x",), 8), ((), ("x",), 0), (("x",), ("y",), 0), ((), None, 0), (None, None, 0)],
    )
    def test_prefix_keys_decide_who_shares(self, first, second, num_hits):
        scheduler, runner = make_scheduler(), FakeRunner(owners={"a": hash(first), "b": hash(second)})
        scheduler.add_request(make_request("a", range(12), prefix_keys=first))
        scheduler.add_request(make_request("b", range(12), prefix_keys=second))
        run_all(scheduler, runner)
        assert scheduler.prefix_cache_hits == num_hits
        assert scheduler.prefix_cache_queries == 12 * sum(keys is not None for keys in (first, second))

    def test_a_reset_forgets_but_not_under_running_requests(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        scheduler.add_request(make_request("a", range(12)))
        run_step(scheduler, runner)
        assert not scheduler.reset_prefix_cache()
        run_all(scheduler, runner)
        assert scheduler.reset_prefix_cache()
        scheduler.add_request(make_request("b", range(12)))
        run_all(scheduler, runner)
        assert scheduler.prefix_cache_hits == 0


class TestPromptLogprobs:
    def test_they_come_once_with_the_first_token_whatever_the_chunks(self):
        scheduler, runner = make_scheduler(budget=10), FakeRunner()
        scheduler.add_request(make_request("a", range(25), max_tokens=3, prompt_logprobs=0))
        outputs = run_all(scheduler, runner)
        assert [output.prompt_logprobs for output in outputs] == [expected_prompt_logprobs(range(25)), None, None]

    def test_a_prompt_of_one_token_has_none(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        scheduler.add_request(make_request("a", [7], max_tokens=1, prompt_logprobs=0))
        assert [output.prompt_logprobs for output in run_all(scheduler, runner)] == [[]]

    def test_nothing_is_taken_from_the_cache_but_all_of_it_is_left_there(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        for name, count in (("first", None), ("asks", 2), ("last", None)):
            scheduler.add_request(make_request(name, range(13), max_tokens=1, prompt_logprobs=count))
            (output,) = run_all(scheduler, runner)
            assert output.num_cached_tokens == (12 if name == "last" else 0)
            assert output.prompt_logprobs == (expected_prompt_logprobs(range(13)) if count else None)
        assert scheduler.prefix_cache_queries == 26, "the one that asks looks nothing up"

    def test_what_is_described_before_a_preemption_is_not_described_again(self):
        scheduler, runner = make_scheduler(num_blocks=8, budget=6, policy="priority"), FakeRunner(num_blocks=8)
        request = make_request("a", range(20), max_tokens=2, priority=1, prompt_logprobs=0)
        scheduler.add_request(request)
        for _ in range(2):
            run_step(scheduler, runner)
        assert len(request.prompt_logprobs) == 12
        scheduler.abandon_step(scheduler.schedule())
        scheduled, _ = run_step(scheduler, runner)
        (resumed,) = scheduled.scheduled_new_requests
        assert resumed.prompt_logprobs_start == resumed.num_computed_tokens == 12, "the blocks are found again"
        outputs = run_all(scheduler, runner)
        assert outputs[0].prompt_logprobs == expected_prompt_logprobs(range(20))

    def test_the_first_of_many_answers_has_them(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        for index in range(3):
            request = make_request(f"a{index}", range(9), max_tokens=1, seed=index, prompt_logprobs=1)
            scheduler.add_request(dataclasses.replace(request, choice_index=index))
        outputs = run_all(scheduler, runner)
        assert [output.prompt_logprobs is None for output in outputs] == [False, True, True]
        assert [output.num_cached_tokens for output in outputs] == [0, 8, 8]


class TestPreemption:
    def test_the_last_request_gives_its_blocks_and_comes_back_with_its_tokens(self):
        scheduler, runner = make_scheduler(num_blocks=6, budget=64), FakeRunner(num_blocks=6)
        first = make_request("a", 7, max_tokens=14)
        second = make_request("b", 7, max_tokens=14)
        prompts = {request.request_id: request.prompt_token_ids for request in (first, second)}
        scheduler.add_request(first)
        scheduler.add_request(second)
        outputs: list[EngineCoreOutput] = []
        preempted: list[str] = []
        while not preempted:
            scheduled, new = run_step(scheduler, runner)
            outputs += new
            preempted += scheduled.preempted_request_ids
        assert preempted == ["b"]
        assert second.status is RequestStatus.PREEMPTED
        assert (second.num_preemptions, second.num_computed_tokens) == (1, 0)
        assert second.num_output_tokens > 0
        assert (scheduler.num_running, scheduler.num_waiting) == (1, 1)
        outputs += run_all(scheduler, runner)
        assert tokens_by_request(outputs) == {name: expected_answer(prompts[name], 0, 14) for name in "ab"}
        assert finishes(outputs) == dict.fromkeys("ab", FinishReason.LENGTH)
        assert first.num_preemptions == 0

    def test_two_requests_that_fill_the_cache_alone_both_finish(self):
        scheduler, runner = make_scheduler(num_blocks=8, max_model_len=32), FakeRunner(num_blocks=8)
        for name in "ab":
            scheduler.add_request(make_request(name, 3, max_tokens=29))
        outputs = run_all(scheduler, runner, max_steps=100)
        assert {name: len(answer) for name, answer in tokens_by_request(outputs).items()} == {"a": 29, "b": 29}

    def test_priority_picks_the_victim(self):
        scheduler = make_scheduler(num_blocks=6, policy="priority")
        runner = FakeRunner(num_blocks=6)
        scheduler.add_request(make_request("low", 7, max_tokens=14, priority=2))
        scheduler.add_request(make_request("high", 7, max_tokens=14, priority=1))
        preempted: list[str] = []
        while not preempted:
            preempted += run_step(scheduler, runner)[0].preempted_request_ids
        assert preempted == ["low"]
        run_all(scheduler, runner)

    def test_a_resumed_request_is_new_to_the_runner_with_all_its_tokens(self):
        scheduler, runner = make_scheduler(num_blocks=6), FakeRunner(num_blocks=6)
        second = make_request("b", range(7), max_tokens=14)
        scheduler.add_request(make_request("a", 7, max_tokens=14))
        scheduler.add_request(second)
        resumed = None
        while resumed is None:
            scheduled = scheduler.schedule()
            known = second.token_ids(0, second.num_tokens)
            news = [data for data in scheduled.scheduled_new_requests if data.request_id == "b"]
            resumed = next((data for data in news if second.num_preemptions), None)
            scheduler.update_from_output(scheduled, runner.execute(scheduled))
        assert resumed.token_ids == known
        assert resumed.num_prompt_tokens == 7
        assert second.num_cached_tokens == 0, "what the answer itself left in the cache is no cached prompt"
        assert scheduler.prefix_cache_queries == 14

    def test_a_request_may_be_preempted_and_resumed_in_one_step(self):
        # Equal text is computed twice where both started at once; after preemption it is found in the cache instead.
        scheduler, runner = make_scheduler(num_blocks=12), FakeRunner(num_blocks=12)
        for name in "ab":
            scheduler.add_request(make_request(name, range(8), max_tokens=24))
        outputs: list[EngineCoreOutput] = []
        preempted: list[str] = []
        while not preempted:
            scheduled, new = run_step(scheduler, runner)
            outputs += new
            preempted += scheduled.preempted_request_ids
        assert preempted == ["b"]
        (resumed,) = scheduled.scheduled_new_requests
        assert (resumed.request_id, resumed.num_computed_tokens, len(resumed.token_ids)) == ("b", 24, 25)
        assert list(scheduled.num_scheduled_tokens.items()) == [("a", 1), ("b", 1)]
        outputs += run_all(scheduler, runner)
        assert tokens_by_request(outputs) == dict.fromkeys("ab", expected_answer(range(8), 0, 24))
        assert scheduler.num_preemptions_total == 1

    def test_a_request_enters_only_where_the_running_ones_can_grow(self):
        scheduler, runner = make_scheduler(num_blocks=8), FakeRunner(num_blocks=8)
        scheduler.add_request(make_request("a", 16, max_tokens=8))
        run_step(scheduler, runner)
        # "a" takes its fifth block; the other three are for the prompt of "b" and one block of growth for each.
        scheduler.add_request(make_request("b", 4, max_tokens=4))
        scheduler.add_request(make_request("c", 4, max_tokens=4))
        scheduled, _ = run_step(scheduler, runner)
        assert list(scheduled.num_scheduled_tokens) == ["a", "b"]
        run_all(scheduler, runner)
        assert scheduler.num_preemptions_total == 0

    @pytest.mark.parametrize(("max_tokens", "scheduled_ids"), [(5, ["a", "b"]), (6, ["a"])])
    def test_room_is_kept_only_for_growth_that_can_come(self, max_tokens, scheduled_ids):
        scheduler, runner = make_scheduler(num_blocks=3), FakeRunner(num_blocks=3)
        scheduler.add_request(make_request("a", 4, max_tokens=max_tokens))
        run_step(scheduler, runner)
        # "a" takes its second block, "b" wants the last one; "a" needs that if it computes a ninth token.
        scheduler.add_request(make_request("b", 4, max_tokens=1))
        assert list(run_step(scheduler, runner)[0].num_scheduled_tokens) == scheduled_ids
        run_all(scheduler, runner)
        assert scheduler.num_preemptions_total == 0


class TestFinish:
    def test_results_are_cut_where_the_answer_ends(self):
        scheduler = make_scheduler()
        scheduler.add_request(make_request("a", 3, max_tokens=8, eos=[2], logprobs=1))
        scheduled = scheduler.schedule()
        logprobs = [TokenLogprobs(token_id, -0.5, 1) for token_id in (7, 2, 9)]
        result = ModelRunnerOutput(sampled_token_ids={"a": [7, 2, 9]}, logprobs={"a": logprobs})
        (output,) = scheduler.update_from_output(scheduled, result)
        assert output.new_token_ids == [7, 2]
        assert output.new_logprobs == logprobs[:2]
        assert (output.finish_reason, output.stop_reason) == (FinishReason.STOP, None)
        assert scheduler.schedule().finished_request_ids == ["a"]

    def test_a_stop_token_is_the_stop_reason(self):
        scheduler = make_scheduler()
        request = make_request("a", 3, max_tokens=8, stop_token_ids=[9])
        scheduler.add_request(request)
        scheduled = scheduler.schedule()
        (output,) = scheduler.update_from_output(scheduled, ModelRunnerOutput(sampled_token_ids={"a": [9]}))
        assert (output.finish_reason, output.stop_reason, output.new_logprobs) == (FinishReason.STOP, 9, None)
        assert (request.status, request.finish_reason, request.stop_reason) == (
            RequestStatus.FINISHED,
            FinishReason.STOP,
            9,
        )

    @pytest.mark.parametrize(("num_blocks", "max_model_len", "length"), [(64, 20, 20), (4, 256, 16)])
    def test_the_context_and_the_cache_end_an_answer(self, num_blocks, max_model_len, length):
        scheduler = make_scheduler(num_blocks=num_blocks, max_model_len=max_model_len)
        assert scheduler.max_model_len == length
        scheduler.add_request(make_request("a", 5, max_tokens=100))
        outputs = run_all(scheduler, FakeRunner(num_blocks=num_blocks))
        assert sum(len(output.new_token_ids) for output in outputs) == length - 5
        assert finishes(outputs) == {"a": FinishReason.LENGTH}

    def test_finishing_frees_and_tells_the_runner_with_the_next_step(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        running, waiting = make_request("a", 5), make_request("b", 5)
        scheduler.add_request(running)
        run_step(scheduler, runner)
        scheduler.add_request(waiting)
        outputs = scheduler.finish(["a", "b", "unknown", "a"], FinishReason.ABORT)
        assert finishes(outputs) == {"a": FinishReason.ABORT, "b": FinishReason.ABORT}
        assert [output.new_token_ids for output in outputs] == [[], []]
        assert not scheduler.has_unfinished_requests()
        assert scheduler.kv_cache_usage == 0
        scheduled, _ = run_step(scheduler, runner)
        assert (list(scheduled.finished_request_ids), scheduled.num_scheduled_tokens) == (["a"], {})
        assert scheduler.schedule().finished_request_ids == []

    def test_a_stop_string_is_the_stop_reason(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        request = make_request("a", 5)
        scheduler.add_request(request)
        run_step(scheduler, runner)
        (output,) = scheduler.finish(["a"], FinishReason.STOP, "###")
        assert (output.finish_reason, output.stop_reason) == (FinishReason.STOP, "###")
        assert (request.finish_reason, request.stop_reason) == (FinishReason.STOP, "###")

    def test_a_result_that_comes_after_the_end_is_dropped(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        aborted = make_request("a", 5)
        scheduler.add_request(aborted)
        scheduler.add_request(make_request("b", 5))
        scheduled = scheduler.schedule()
        scheduler.finish(["a"], FinishReason.ABORT)
        outputs = scheduler.update_from_output(scheduled, runner.execute(scheduled))
        assert [output.request_id for output in outputs] == ["b"]
        assert aborted.output_token_ids == []
        run_all(scheduler, runner)

    def test_a_namesake_does_not_get_the_result_of_the_dead(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        scheduler.add_request(make_request("a", range(5)))
        scheduled = scheduler.schedule()
        scheduler.finish(["a"], FinishReason.ABORT)
        namesake = make_request("a", range(9))
        scheduler.add_request(namesake)
        assert scheduler.update_from_output(scheduled, runner.execute(scheduled)) == []
        assert (namesake.num_computed_tokens, namesake.output_token_ids) == (0, [])
        assert tokens_by_request(run_all(scheduler, runner)) == {"a": expected_answer(range(9), 0, 4)}

    def test_a_preempted_request_can_be_aborted(self):
        scheduler, runner = make_scheduler(num_blocks=6), FakeRunner(num_blocks=6)
        for name in "ab":
            scheduler.add_request(make_request(name, 7, max_tokens=14))
        while not scheduler.num_preemptions_total:
            run_step(scheduler, runner)
        assert finishes(scheduler.finish(["b"], FinishReason.ABORT)) == {"b": FinishReason.ABORT}
        assert finishes(run_all(scheduler, runner)) == {"a": FinishReason.LENGTH}

    def test_a_runner_that_forgets_a_token_is_caught(self):
        scheduler = make_scheduler()
        scheduler.add_request(make_request("a", 5))
        with pytest.raises(AssertionError, match="got tokens None with caught_up=True"):
            scheduler.update_from_output(scheduler.schedule(), ModelRunnerOutput())


class TestFailedStep:
    def test_the_step_is_computed_anew(self):
        scheduler, runner = make_scheduler(budget=16), FakeRunner()
        for name in ("done", "a"):
            scheduler.add_request(make_request(name, range(6), max_tokens=1 if name == "done" else 4))
        run_step(scheduler, runner)
        scheduler.add_request(make_request("b", range(30, 42)))
        scheduler.add_request(make_request("c", range(30, 42), seed=1))
        failed = scheduler.schedule()
        assert list(failed.finished_request_ids) == ["done"]
        assert failed.scheduled_new_requests[1].num_computed_tokens == 8
        runner.fail(failed)
        scheduler.abandon_step(failed)
        scheduler.check_integrity()
        assert scheduler.num_running == 0
        scheduled = scheduler.schedule()
        assert list(scheduled.finished_request_ids) == ["done"]
        assert sorted(scheduled.preempted_request_ids) == ["a", "b", "c"]
        assert scheduled.num_scheduled_tokens == {"a": 3, "b": 12, "c": 1}
        outputs = scheduler.update_from_output(scheduled, runner.execute(scheduled))
        answers = tokens_by_request(outputs + run_all(scheduler, runner))
        assert answers["b"] == expected_answer(range(30, 42), 0, 4)
        assert answers["c"] == expected_answer(range(30, 42), 1, 4)

    def test_a_request_that_ended_meanwhile_stays_ended(self):
        scheduler = make_scheduler()
        scheduler.add_request(make_request("a", 9))
        scheduled = scheduler.schedule()
        scheduler.finish(["a"], FinishReason.ABORT)
        scheduler.abandon_step(scheduled)
        scheduler.check_integrity()
        assert not scheduler.has_unfinished_requests()
        assert scheduler.schedule().finished_request_ids == ["a"]


class TestRefusal:
    @pytest.mark.parametrize(("num_blocks", "max_model_len", "fits"), [(64, 20, 19), (4, 256, 15)])
    def test_a_prompt_that_can_never_fit(self, num_blocks, max_model_len, fits):
        scheduler = make_scheduler(num_blocks=num_blocks, max_model_len=max_model_len)
        with pytest.raises(ContextLengthError, match=f"at most {fits} tokens") as caught:
            scheduler.add_request(make_request("long", fits + 1))
        assert (caught.value.num_prompt_tokens, caught.value.max_model_len) == (fits + 1, fits + 1)
        scheduler.add_request(make_request("fits", fits))
        assert finishes(run_all(scheduler, FakeRunner(num_blocks=num_blocks))) == {"fits": FinishReason.LENGTH}

    def test_an_empty_prompt(self):
        with pytest.raises(InvalidRequestError, match="has no tokens"):
            make_scheduler().add_request(make_request("a", []))

    def test_an_id_in_use(self):
        scheduler = make_scheduler()
        scheduler.add_request(make_request("a", 3))
        with pytest.raises(InvalidRequestError, match="'a' is in use"):
            scheduler.add_request(make_request("a", 3))
        assert scheduler.num_waiting == 1

    def test_an_unknown_policy(self):
        with pytest.raises(InvalidConfigError, match="got 'lifo'"):
            make_scheduler(policy="lifo")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda scheduler, _: scheduler._requests.pop("a"), r"queued requests \['a', 'b'\]"),
        (lambda scheduler, request: scheduler._waiting.add(request), r"queued requests \['a', 'a', 'b'\]"),
        (lambda scheduler, _: scheduler._runner._num_sent_tokens.clear(), r"the runner knows \[\]"),
        (lambda _, request: setattr(request, "status", RequestStatus.WAITING), "runs with status WAITING"),
        (lambda _, request: setattr(request, "num_computed_tokens", 50), "has computed 50 of 10 tokens"),
        (lambda scheduler, _: setattr(scheduler._waiting[0], "num_computed_tokens", 4), "b waits, but holds blocks"),
        (
            lambda scheduler, _: setattr(scheduler._waiting[0], "status", RequestStatus.FINISHED),
            "waits with status FINISHED",
        ),
    ],
)
def test_check_integrity_names_the_damage(damage, message):
    scheduler, runner = make_scheduler(max_num_seqs=1), FakeRunner()
    request = make_request("a", 9)
    scheduler.add_request(request)
    scheduler.add_request(make_request("b", 9))
    run_step(scheduler, runner)
    damage(scheduler, request)
    with pytest.raises(AssertionError, match=message):
        scheduler.check_integrity()


def test_a_request_that_the_runner_gives_up_ends_with_its_message_alone():
    scheduler, runner = make_scheduler(), FakeRunner()
    for name in "ab":
        scheduler.add_request(make_request(name, 3, max_tokens=2))
    scheduled = scheduler.schedule()
    result = runner.execute(scheduled)
    result.errors["a"] = "its logits are no numbers"
    outputs = {output.request_id: output for output in scheduler.update_from_output(scheduled, result)}
    assert (outputs["a"].finish_reason, outputs["a"].error) == (FinishReason.ERROR, "its logits are no numbers")
    assert outputs["a"].new_token_ids == []
    assert outputs["b"].finish_reason is None
    rest = run_all(scheduler, runner)
    assert finishes(rest) == {"b": FinishReason.LENGTH}
    scheduler.check_integrity()


class TestGrammars:
    END = 9
    ANSWERS = ([1, 2, 3, 4, 5, END], [1, 2, 3, 4, 6, 7, END], [8, 2, END])

    def grammar(self, **options):
        return FakeGrammar(*self.ANSWERS, **options)

    def test_answers_obey_and_forced_tokens_cost_no_step_each(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        scheduler.add_request(make_request("a", 5, 20, eos=[self.END], grammar=self.grammar()))
        scheduler.add_request(make_request("free", 5, 6))
        outputs = run_all(scheduler, runner)
        answers = tokens_by_request(outputs)
        assert answers["a"] in [list(answer) for answer in self.ANSWERS]
        assert answers["free"] == expected_answer(make_request("free", 5).prompt_token_ids, 0, 6)
        assert finishes(outputs) == {"a": FinishReason.STOP, "free": FinishReason.LENGTH}
        assert sum(output.request_id == "a" for output in outputs) < len(answers["a"])

    def test_forced_tokens_are_computed_together_in_the_next_step(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        grammar = FakeGrammar([1, 2, 3, 4, 5, self.END], [1, 2, 3, 4, 6, self.END])
        scheduler.add_request(make_request("a", 5, 20, eos=[self.END], grammar=grammar))
        steps = [run_step(scheduler, runner) for _ in range(2)]
        assert [scheduled.num_scheduled_tokens for scheduled, _ in steps] == [{"a": 5}, {"a": 4}]
        assert not scheduler.has_unfinished_requests()

    def test_preemption_and_small_budgets_change_no_answer(self):
        prompts = {name: [ord(name), *range(7)] for name in "abcdef"}

        def answers(**sizes):
            scheduler, runner = make_scheduler(**sizes), FakeRunner(num_blocks=sizes["num_blocks"])
            for seed, (name, prompt) in enumerate(prompts.items()):
                grammar = FakeGrammar(*([start, *range(10, 30), end, self.END] for start in (2, 4) for end in (6, 8)))
                request = make_request(name, prompt, 40, eos=[self.END], seed=seed, grammar=grammar)
                scheduler.add_request(request)
            outputs = run_all(scheduler, runner)
            return tokens_by_request(outputs), scheduler.num_preemptions_total

        plenty, none = answers(num_blocks=64)
        scarce, some = answers(num_blocks=10, budget=7)
        assert scarce == plenty
        assert none == 0
        assert some > 0

    def test_a_token_without_room_for_the_end_is_replaced_or_sampled_again(self):
        def answer(**params):
            scheduler, runner = make_scheduler(), FakeRunner()
            grammar = FakeGrammar([1, 3, self.END], [2, 3, 4, self.END], [2, 3, self.END], unfit={1: 2})
            scheduler.add_request(make_request("a", 5, 20, eos=[self.END], seed=1, grammar=grammar, **params))
            steps = []
            while scheduler.has_unfinished_requests():
                steps.append(run_step(scheduler, runner))
                scheduler.check_integrity()
            return tokens_by_request([output for _, outputs in steps for output in outputs])["a"], steps

        replaced, few_steps = answer()
        sampled, many_steps = answer(logprobs=0)
        assert replaced == sampled
        assert replaced[0] == 2
        assert len(many_steps) > len(few_steps)
        # The prompt's last token is computed once more, for another bitmask.
        assert [scheduled.num_scheduled_tokens["a"] for scheduled, _ in many_steps[:2]] == [5, 1]
        assert many_steps[0][1] == []

    @pytest.mark.parametrize("method", ["fill_bitmask", "accept", "fitting"])
    def test_a_grammar_that_fails_ends_its_request_alone(self, method):
        scheduler, runner = make_scheduler(), FakeRunner()
        scheduler.add_request(make_request("broken", 5, 20, eos=[self.END], grammar=self.grammar(fails=method)))
        scheduler.add_request(make_request("sound", 5, 20, eos=[self.END], grammar=self.grammar()))
        outputs = run_all(scheduler, runner)
        assert finishes(outputs) == {"broken": FinishReason.ERROR, "sound": FinishReason.STOP}
        (error,) = [output.error for output in outputs if output.request_id == "broken" and output.finish_reason]
        assert "out of fuel" in str(error)

    def test_a_step_that_fails_leaves_the_grammar_where_it_was(self):
        scheduler, runner = make_scheduler(), FakeRunner()
        grammar = self.grammar()
        scheduler.add_request(make_request("a", 5, 20, eos=[self.END], grammar=grammar))
        run_step(scheduler, runner)
        before = list(grammar.taken)
        scheduled = scheduler.schedule()
        runner.fail(scheduled)
        scheduler.abandon_step(scheduled)
        assert scheduled.grammar_bitmask.done()
        assert grammar.taken == before
        answers = tokens_by_request(run_all(scheduler, runner))
        assert [*before, *answers["a"]] in [list(answer) for answer in self.ANSWERS]
