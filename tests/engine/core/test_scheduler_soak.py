"""Many requests through a KV cache too small for them; every KV slot that is read is checked by the fake runner.

A request's answer depends on its own text and seed alone, so it must come out as if the request had run alone,
whatever was shared, evicted, preempted, aborted or computed anew meanwhile.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.engine.core.fakes import (
    FakeRunner,
    expected_answer,
    expected_prompt_logprobs,
    make_request,
    make_scheduler,
    run_all,
    run_step,
)
from vllm_local.request import FinishReason

BLOCK_SIZE = 4
MAX_MODEL_LEN = 60


class Ledger:
    """A scheduler with its runner, and everything that was asked of it and came out."""

    def __init__(self, *, num_blocks, policy, max_num_seqs=6, budget=24):
        self.scheduler = make_scheduler(
            num_blocks,
            BLOCK_SIZE,
            max_num_seqs=max_num_seqs,
            budget=budget,
            max_model_len=MAX_MODEL_LEN,
            policy=policy,
        )
        self.owners: dict[str, int] = {}
        self.runner = FakeRunner(num_blocks, BLOCK_SIZE, self.owners)
        self.requests = {}
        self.answers = {}
        self.finish_reasons = {}
        self.prompt_logprobs = {}

    def add(self, prompt, max_tokens, *, prefix_keys=(), **options):
        request_id = f"r{len(self.requests)}"
        # Without prefix keys a request shares with nobody: it is an owner of its own.
        self.owners[request_id] = 0 if prefix_keys == () else hash((len(self.requests), prefix_keys is None))
        if prefix_keys:
            self.owners[request_id] = sum(map(ord, prefix_keys[0]))
        request = make_request(request_id, prompt, max_tokens, prefix_keys=prefix_keys, **options)
        self.scheduler.add_request(request)
        self.requests[request_id] = request
        self.answers[request_id] = []

    def record(self, outputs):
        for output in outputs:
            assert output.request_id not in self.finish_reasons, "an output after the last"
            self.answers[output.request_id] += output.new_token_ids
            if output.prompt_logprobs is not None:
                assert output.request_id not in self.prompt_logprobs, "a prompt is described twice"
                self.prompt_logprobs[output.request_id] = output.prompt_logprobs
            if output.finish_reason is not None:
                self.finish_reasons[output.request_id] = output.finish_reason

    def step(self):
        scheduled, outputs = run_step(self.scheduler, self.runner)
        self.record(outputs)
        return scheduled

    def fail_step(self):
        scheduled = self.scheduler.schedule()
        self.runner.fail(scheduled)
        self.scheduler.abandon_step(scheduled)

    def finish(self, request_ids, reason, stop_reason=None):
        self.record(self.scheduler.finish(request_ids, reason, stop_reason))

    def unfinished(self):
        return [request_id for request_id in self.requests if request_id not in self.finish_reasons]

    def run_out(self):
        self.record(run_all(self.scheduler, self.runner))

    def check_answers(self):
        assert self.finish_reasons.keys() == self.requests.keys()
        for request_id, request in self.requests.items():
            assert request.finish_reason is self.finish_reasons[request_id]
            self._check_answer(request, self.answers[request_id])

    def _check_answer(self, request, answer):
        assert request.output_token_ids == answer
        owner = self.owners[request.request_id]
        if request.sampling_params.prompt_logprobs is not None and answer:
            expected = expected_prompt_logprobs(request.prompt_token_ids, owner)
            assert self.prompt_logprobs[request.request_id] == expected
        else:
            assert request.request_id not in self.prompt_logprobs
        assert answer == expected_answer(request.prompt_token_ids, request.seed, len(answer), owner)
        room = min(request.max_tokens, MAX_MODEL_LEN - request.num_prompt_tokens)
        ends = [index for index, token_id in enumerate(answer) if token_id in request.eos_token_ids]
        if request.finish_reason is FinishReason.STOP and request.stop_reason is None:
            assert ends == [len(answer) - 1]
        else:
            assert ends == []
        if request.finish_reason is FinishReason.LENGTH:
            assert len(answer) == room


def add_random(ledger, rng):
    """One to four siblings, often with the beginning of an earlier prompt and sometimes its answer."""
    prompt = [rng.randrange(50) for _ in range(rng.randrange(1, 40))]
    if ledger.requests and rng.random() < 0.5:
        earlier = rng.choice(list(ledger.requests.values()))
        tokens = earlier.token_ids(0, earlier.num_tokens)
        prompt = (tokens[: rng.randrange(1, len(tokens) + 1)] + prompt[: rng.randrange(8)])[: MAX_MODEL_LEN - 1]
    shared = {
        "max_tokens": rng.randrange(1, 40),
        "eos": [7] if rng.random() < 0.5 else [],
        "priority": rng.randrange(3),
        "arrival": rng.random(),
        "prefix_keys": rng.choice([(), (), (), ("salt",), None]),
        "prompt_logprobs": rng.choice([None, None, None, 1]),
    }
    for seed in range(rng.choice([1, 1, 1, 4])):
        ledger.add(prompt, **shared, seed=seed)


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_600_requests_through_a_small_cache(policy):
    rng = random.Random(policy)
    # 16 blocks of 4 tokens: a single request of full length takes 15 of them.
    ledger = Ledger(num_blocks=16, policy=policy)
    num_failed = 0
    while len(ledger.requests) < 600:
        while ledger.scheduler.num_waiting < 12:
            add_random(ledger, rng)
        event = rng.random()
        unfinished = ledger.unfinished()
        if event < 0.03:
            ledger.finish(rng.sample(unfinished, k=min(2, len(unfinished))), FinishReason.ABORT)
        elif event < 0.04:
            ledger.finish([rng.choice(unfinished)], FinishReason.STOP, "stop string")
        elif event < 0.05:
            ledger.fail_step()
            num_failed += 1
        ledger.step()
    ledger.run_out()
    ledger.check_answers()
    reasons = Counter(ledger.finish_reasons.values())
    assert sum(reasons.values()) == len(ledger.requests) >= 600
    assert all(reasons[reason] >= 20 for reason in (FinishReason.STOP, FinishReason.LENGTH, FinishReason.ABORT))
    assert ledger.scheduler.num_preemptions_total > 50
    assert ledger.scheduler.prefix_cache_hits > 1000
    assert num_failed > 5


def test_a_roomy_cache_preempts_nobody():
    rng = random.Random(0)
    ledger = Ledger(num_blocks=200, policy="fcfs")
    for _ in range(60):
        add_random(ledger, rng)
    ledger.run_out()
    ledger.check_answers()
    assert ledger.scheduler.num_preemptions_total == 0


PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=MAX_MODEL_LEN - 1)
"""Two token ids only, so that prompts often begin alike."""


@given(
    prompts=st.lists(
        st.tuples(PROMPTS, st.integers(1, 60), st.integers(0, 2), st.sampled_from([None, None, 1])),
        min_size=1,
        max_size=8,
    ),
    num_blocks=st.integers(15, 24),
    budget=st.integers(1, 30),
    max_num_seqs=st.integers(1, 8),
    policy=st.sampled_from(["fcfs", "priority"]),
)
@settings(max_examples=150)
def test_any_batch_is_answered_as_if_each_ran_alone(prompts, num_blocks, budget, max_num_seqs, policy):
    ledger = Ledger(num_blocks=num_blocks, policy=policy, budget=budget, max_num_seqs=max_num_seqs)
    for prompt, max_tokens, priority, prompt_logprobs in prompts:
        ledger.add(prompt, max_tokens, priority=priority, prompt_logprobs=prompt_logprobs)
    ledger.run_out()
    ledger.check_answers()
    assert set(ledger.finish_reasons.values()) == {FinishReason.LENGTH}


class SchedulerMachine(RuleBasedStateMachine):
    """Any order of arrivals, steps, failures, aborts and resets."""

    def __init__(self):
        super().__init__()
        self.ledger = Ledger(num_blocks=15, policy="priority", max_num_seqs=4, budget=16)

    @rule(
        prompt=PROMPTS,
        max_tokens=st.integers(1, 20),
        priority=st.integers(0, 2),
        num_siblings=st.integers(1, 3),
        prefix_keys=st.sampled_from([(), ("salt",), None]),
        prompt_logprobs=st.sampled_from([None, None, 1]),
    )
    def add(self, prompt, max_tokens, num_siblings, **options):
        for seed in range(num_siblings):
            self.ledger.add(prompt, max_tokens, **options, seed=seed)

    @rule(count=st.integers(1, 8))
    def step(self, count):
        for _ in range(count):
            self.ledger.step()

    @rule()
    def fail_step(self):
        self.ledger.fail_step()

    @precondition(lambda self: self.ledger.unfinished())
    @rule(data=st.data())
    def abort(self, data):
        self.ledger.finish([data.draw(st.sampled_from(self.ledger.unfinished()))], FinishReason.ABORT)

    @rule()
    def reset(self):
        idle = self.ledger.scheduler.num_running == 0
        assert self.ledger.scheduler.reset_prefix_cache() == idle

    @invariant()
    def is_sound(self):
        self.ledger.scheduler.check_integrity()

    def teardown(self):
        self.ledger.run_out()
        self.ledger.check_answers()


SchedulerMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=25)
TestSchedulerMachine = SchedulerMachine.TestCase
