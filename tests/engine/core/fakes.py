"""A runner without a model, which knows what every KV slot holds, and short ways to make requests."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

import numpy as np

from vllm_local.config import KVCacheConfig, KVCacheGroup
from vllm_local.core.scheduler import Scheduler
from vllm_local.outputs import EngineCoreOutput, TokenLogprobs
from vllm_local.request import Request
from vllm_local.sampling_params import SamplingParams
from vllm_local.step_io import ModelRunnerOutput, NewRequestData, SchedulerOutput

VOCAB_SIZE = 50


def make_kv_cache(num_blocks=64, block_size=4):
    group = KVCacheGroup(layers=(0,), num_kv_heads=1, k_head_size=1, v_head_size=1, dtype="float32")
    return KVCacheConfig(num_blocks=num_blocks, block_size=block_size, groups=(group,))


def make_scheduler(num_blocks=64, block_size=4, *, max_num_seqs=8, budget=64, max_model_len=256, policy="fcfs"):
    return Scheduler(
        kv_cache=make_kv_cache(num_blocks, block_size),
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=budget,
        max_model_len=max_model_len,
        policy=policy,
        vocab_size=VOCAB_SIZE,
    )


class FakeGrammar:
    """Allows a few answers, each with its end token at its end; `fails` names the method that raises.

    `unfit` names tokens that leave no room for the end, and what comes instead of each.
    """

    def __init__(self, *answers, fails=None, unfit=None):
        self.answers = [list(answer) for answer in answers]
        self.unfit = unfit or {}
        self.wanted = None
        self.taken = []
        self.fails = fails

    def _following(self, taken):
        count = len(taken)
        return {answer[count] for answer in self.answers if answer[:count] == taken and len(answer) > count}

    def _maybe_fail(self, method):
        if self.fails == method:
            raise RuntimeError("out of fuel")

    def fill_bitmask(self, bitmask, row):
        self._maybe_fail("fill_bitmask")
        bitmask[row] = 0
        for token_id in self._following(self.taken) if self.wanted is None else {self.wanted}:
            bitmask[row, token_id // 32] |= np.int32(1 << (token_id % 32)) if token_id % 32 < 31 else np.int32(-(2**31))

    def accept(self, token_ids):
        self._maybe_fail("accept")
        if self.validate(token_ids) < len(token_ids):
            return False
        self.taken += token_ids
        self.wanted = None
        return True

    def fitting(self, token_ids):
        self._maybe_fail("fitting")
        if self.wanted is None:
            self.wanted = self.unfit.get(token_ids[0])
        return list(token_ids) if self.wanted is None else [self.wanted]

    def forced_tokens(self):
        forced: list[int] = []
        while len(following := self._following(self.taken + forced)) == 1:
            forced += following
        return forced

    def validate(self, token_ids):
        for count, token_id in enumerate(token_ids):
            if token_id not in self._following(self.taken + list(token_ids[:count])):
                return count
        return len(token_ids)

    def rollback(self, num_tokens):
        del self.taken[len(self.taken) - num_tokens :]

    def is_terminated(self):
        return not self._following(self.taken)


def make_request(
    request_id, prompt, max_tokens=4, *, eos=(), prefix_keys=(), priority=0, arrival=0.0, seed=0, grammar=None, **params
):
    """A request whose prompt is a list of tokens, or a number of tokens found in no other request."""
    if isinstance(prompt, int):
        prompt = [int.from_bytes(blake2b(request_id.encode(), digest_size=4).digest(), "little")] * prompt
    return Request(
        request_id=request_id,
        prompt_token_ids=list(prompt),
        sampling_params=SamplingParams(max_tokens=max_tokens, **params),
        eos_token_ids=frozenset(eos),
        prefix_keys=prefix_keys,
        priority=priority,
        arrival_time=arrival,
        seed=seed,
        grammar=grammar,
    )


def extend_content(content: int, token_id: int) -> int:
    """What K and V of a token depend on: itself and everything before it."""
    return hash((content, token_id))


def next_token(content: int, seed: int) -> int:
    """The fake model: a function of the whole text before, as a real one is."""
    return (content // 7 + seed) % VOCAB_SIZE


def expected_answer(prompt, seed, num_tokens, owner=0):
    """What the fake model answers to a request that runs alone."""
    content = owner
    for token_id in prompt:
        content = extend_content(content, token_id)
    answer = []
    for _ in range(num_tokens):
        answer.append(next_token(content, seed))
        content = extend_content(content, answer[-1])
    return answer


def describe(content: int, token_id: int) -> TokenLogprobs:
    """What the fake model thinks of a token after a text."""
    return TokenLogprobs(token_id, -float(next_token(content, token_id)), 1)


def expected_prompt_logprobs(prompt, owner=0):
    """What the fake model thinks of a prompt that is computed alone."""
    content, described = owner, []
    for token_id, following in pairwise(prompt):
        content = extend_content(content, token_id)
        described.append(describe(content, following))
    return described


@dataclass
class Row:
    token_ids: list[int]
    block_ids: list[int]
    num_computed_tokens: int
    seed: int
    prompt_end: int
    prompt_logprobs_start: int | None
    contents: list[int]  # Of each token; one more in front, for the owner.


class FakeRunner:
    """Writes each token's content to its KV slot, checks all slots that attention would read, and samples.

    `owners` maps a request to a number that is equal where blocks may be shared. Two requests of different owners
    have different contents even for equal tokens, so that forbidden sharing shows.
    """

    def __init__(self, num_blocks=64, block_size=4, owners=None):
        self.block_size = block_size
        self.slots: list[int | None] = [None] * (num_blocks * block_size)
        self.owners = {} if owners is None else owners
        self.rows: dict[str, Row] = {}
        self.num_computed_total = 0
        self._maybe_gone: set[str] = set()

    def execute(self, scheduled: SchedulerOutput) -> ModelRunnerOutput:
        self._drop(scheduled)
        for data in scheduled.scheduled_new_requests:
            self._add(data)
        self._update(scheduled)
        described = list(scheduled.scheduled_cached_requests.request_ids)
        described += [data.request_id for data in scheduled.scheduled_new_requests]
        assert sorted(described) == sorted(scheduled.num_scheduled_tokens), "every scheduled request, and once"
        self._write(scheduled)
        prompt_logprobs = {
            request_id: self._describe(self.rows[request_id], count)
            for request_id, count in scheduled.num_scheduled_tokens.items()
            if self.rows[request_id].prompt_logprobs_start is not None
        }
        sampled = {
            request_id: self._read_and_sample(request_id, count)
            for request_id, count in scheduled.num_scheduled_tokens.items()
        }
        errors = self._obey(scheduled, sampled)
        return ModelRunnerOutput(sampled_token_ids=sampled, prompt_logprobs=prompt_logprobs, errors=errors)

    @staticmethod
    def _obey(scheduled, sampled):
        """Takes the next allowed token in place of a forbidden one; an error where nothing is allowed."""
        errors: dict[str, str] = {}
        bitmask = None if scheduled.grammar_bitmask is None else scheduled.grammar_bitmask.result()
        if bitmask is None:
            return errors
        rows = [request_id for request_id, token_ids in sampled.items() if token_ids]
        assert len(bitmask) == len(rows), "one row a sampled request"
        for row, request_id in enumerate(rows):
            bits = np.unpackbits(bitmask[row].view(np.uint8), bitorder="little")[:VOCAB_SIZE]
            (token_id,) = sampled[request_id]
            allowed = [(token_id + step) % VOCAB_SIZE for step in range(VOCAB_SIZE)]
            found = [candidate for candidate in allowed if bits[candidate]]
            sampled[request_id] = found[:1] or [0]
            if not found:
                errors[request_id] = "nothing is allowed"
        return errors

    def fail(self, scheduled: SchedulerOutput) -> None:
        """Gets as far as a step can before it dies: rows are made, and slots written with nonsense."""
        self._drop(scheduled)
        for data in scheduled.scheduled_new_requests:
            self._add(data)
        self._update(scheduled)
        for request_id, count in scheduled.num_scheduled_tokens.items():
            row = self.rows[request_id]
            for position in range(row.num_computed_tokens, row.num_computed_tokens + count):
                self.slots[self._slot(row, position)] = None
        self._maybe_gone |= {*scheduled.finished_request_ids, *scheduled.preempted_request_ids}

    def _drop(self, scheduled):
        for request_id in [*scheduled.finished_request_ids, *scheduled.preempted_request_ids]:
            # Only after a failed step may it be told twice.
            if request_id in self.rows or request_id not in self._maybe_gone:
                del self.rows[request_id]
        self._maybe_gone.clear()

    def _add(self, data: NewRequestData):
        assert data.request_id not in self.rows, f"{data.request_id} is new, but was never dropped"
        (block_ids,) = data.block_ids
        contents = [self.owners.get(data.request_id, 0)]
        row = Row(
            token_ids=[],
            block_ids=list(block_ids),
            num_computed_tokens=data.num_computed_tokens,
            seed=data.seed,
            prompt_end=data.num_prompt_tokens,
            prompt_logprobs_start=data.prompt_logprobs_start,
            contents=contents,
        )
        self._append(row, data.token_ids)
        self.rows[data.request_id] = row

    def _update(self, scheduled):
        for request_id, new_token_ids, (new_block_ids,), num_computed_tokens in scheduled.scheduled_cached_requests:
            row = self.rows[request_id]
            self._append(row, new_token_ids)
            row.block_ids += new_block_ids
            # The last token is computed once more where what was sampled behind it was not taken.
            is_repeated = num_computed_tokens == row.num_computed_tokens - 1 and not new_token_ids
            assert is_repeated or row.num_computed_tokens == num_computed_tokens, f"{request_id} jumped"
            row.num_computed_tokens = num_computed_tokens

    @staticmethod
    def _append(row, token_ids):
        for token_id in token_ids:
            row.token_ids.append(token_id)
            row.contents.append(extend_content(row.contents[-1], token_id))

    def _slot(self, row, position):
        return row.block_ids[position // self.block_size] * self.block_size + position % self.block_size

    def _write(self, scheduled):
        written = set()
        for request_id, count in scheduled.num_scheduled_tokens.items():
            assert count > 0
            row = self.rows[request_id]
            for position in range(row.num_computed_tokens, row.num_computed_tokens + count):
                slot = self._slot(row, position)
                assert slot not in written, f"two requests write slot {slot} in one step"
                written.add(slot)
                self.slots[slot] = row.contents[position + 1]
        self.num_computed_total += len(written)

    @staticmethod
    def _describe(row, count):
        end = row.num_computed_tokens + count
        positions = range(max(row.num_computed_tokens, row.prompt_logprobs_start), min(end, row.prompt_end - 1))
        return [describe(row.contents[position + 1], row.token_ids[position + 1]) for position in positions]

    def _read_and_sample(self, request_id, count):
        row = self.rows[request_id]
        row.num_computed_tokens += count
        assert row.num_computed_tokens <= len(row.token_ids), f"{request_id} computes tokens that it does not have"
        for position in range(row.num_computed_tokens):
            found = self.slots[self._slot(row, position)]
            assert found == row.contents[position + 1], f"{request_id} reads a strange slot at position {position}"
        if row.num_computed_tokens < len(row.token_ids):
            return []
        return [next_token(row.contents[-1], row.seed)]


def run_step(scheduler: Scheduler, runner: FakeRunner) -> tuple[SchedulerOutput, list[EngineCoreOutput]]:
    """One turn of the engine's control loop."""
    scheduled = scheduler.schedule()
    outputs = scheduler.update_from_output(scheduled, runner.execute(scheduled))
    scheduler.check_integrity()
    return scheduled, outputs


def run_all(scheduler: Scheduler, runner: FakeRunner, max_steps=10_000) -> list[EngineCoreOutput]:
    """Steps until nothing is left, and checks that nothing is left behind."""
    outputs = []
    for _ in range(max_steps):
        if not scheduler.has_unfinished_requests():
            break
        outputs += run_step(scheduler, runner)[1]
    assert not scheduler.has_unfinished_requests(), "the scheduler makes no headway"
    last, _ = run_step(scheduler, runner)
    assert not last.num_scheduled_tokens
    assert not runner.rows, "the runner was not told of every end"
    assert scheduler.kv_cache_usage == 0, "blocks are leaked"
    return outputs
