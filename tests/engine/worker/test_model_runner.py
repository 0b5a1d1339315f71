from concurrent.futures import Future

import numpy as np
import pytest

from tests.engine.worker.fakes import (
    VOCAB_SIZE,
    FakeModel,
    cached,
    expected_answer,
    make_config,
    new,
    next_token,
    step,
)
from vllm_local.sampling.sampler import Sampler
from vllm_local.step_io import ModelRunnerOutput
from vllm_local.worker.executor import Executor
from vllm_local.worker.model_runner import ModelRunner

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture
def model():
    return FakeModel()


@pytest.fixture
def runner(model):
    return ModelRunner(make_config(), model, Sampler())


def test_the_runner_is_an_executor(runner):
    executor: Executor = runner
    assert executor.execute(step({})) == ModelRunnerOutput()


def test_prompt_then_tokens_one_by_one(runner):
    answer = expected_answer(PROMPT, 3)
    found = runner.execute(step({"a": 8}, new=[new("a", PROMPT, blocks=[4, 0, 2])]))
    assert found.sampled_token_ids == {"a": [answer[0]]}
    assert found.logprobs == found.errors == {}
    found = runner.execute(step({"a": 1}, cached=[cached("a", 8, tokens=[answer[0]])]))
    assert found.sampled_token_ids == {"a": [answer[1]]}
    found = runner.execute(step({"a": 1}, cached=[cached("a", 9, tokens=[answer[1]])]))
    assert found.sampled_token_ids == {"a": [answer[2]]}


def test_the_memory_of_a_steps_logits_serves_the_next_steps_that_fit(runner, model):
    answer = expected_answer(PROMPT, 2)
    runner.execute(step({"a": 8}, new=[new("a", PROMPT, blocks=[0, 1, 2])]))
    more = [new("b", PROMPT, blocks=[3, 4, 5])]
    runner.execute(step({"a": 1, "b": 8}, cached=[cached("a", 8, tokens=[answer[0]])], new=more))
    found = runner.execute(step({"b": 1}, cached=[cached("b", 8, tokens=[answer[0]])]))

    assert found.sampled_token_ids == {"b": [answer[1]]}
    one, two, again = (logits.data_ptr() for logits in model.logits)
    assert one != two == again


def test_chunks_of_a_prompt_sample_at_its_end_only(runner):
    found = runner.execute(step({"a": 3}, new=[new("a", PROMPT, blocks=[4])]))
    assert found.sampled_token_ids == {"a": []}
    found = runner.execute(step({"a": 4}, cached=[cached("a", 3, blocks=[1])]))
    assert found.sampled_token_ids == {"a": []}
    found = runner.execute(step({"a": 1}, cached=[cached("a", 7)]))
    assert found.sampled_token_ids == {"a": [next_token(PROMPT)]}


def test_chunks_and_answers_share_a_step(runner):
    runner.execute(step({"a": 8}, new=[new("a", PROMPT, blocks=[0, 1, 2])]))
    token = next_token(PROMPT)
    other = [7] * 6
    found = runner.execute(
        step(
            {"a": 1, "b": 4, "c": 2},
            cached=[cached("a", 8, tokens=[token])],
            new=[new("b", other, blocks=[3, 4]), new("c", [8, 9], blocks=[5])],
        )
    )
    assert found.sampled_token_ids == {"a": [next_token([*PROMPT, token])], "b": [], "c": [next_token([8, 9])]}
    found = runner.execute(step({"b": 2}, cached=[cached("b", 4)]))
    assert found.sampled_token_ids == {"b": [next_token(other)]}


def test_a_cached_prefix_is_read_where_it_lies(runner):
    runner.execute(step({"a": 8}, new=[new("a", PROMPT, blocks=[6, 7])]))
    longer = [*PROMPT, 77]
    found = runner.execute(step({"b": 1}, new=[new("b", longer, blocks=[6, 7, 1], computed=8)], finished=["a"]))
    assert found.sampled_token_ids == {"b": [next_token(longer)]}


def test_a_prefix_is_shared_within_the_step_that_computes_it(runner):
    longer = [*PROMPT, 77]
    found = runner.execute(
        step(
            {"a": 8, "b": 1},
            new=[new("a", PROMPT, blocks=[6, 7]), new("b", longer, blocks=[6, 7, 1], computed=8)],
        )
    )
    assert found.sampled_token_ids == {"a": [next_token(PROMPT)], "b": [next_token(longer)]}


def test_a_preempted_request_goes_on_with_its_answer(runner):
    answer = expected_answer(PROMPT, 3)
    runner.execute(step({"a": 8}, new=[new("a", PROMPT, blocks=[0, 1])]))
    runner.execute(step({"a": 1}, cached=[cached("a", 8, tokens=answer[:1], blocks=[2])]))
    runner.execute(step({"b": 4}, new=[new("b", [1] * 4, blocks=[0])], preempted=["a"]))
    assert runner.known_request_ids == ("b",)
    back = new("a", PROMPT, answer=answer[:2], blocks=[5, 6, 7])
    assert runner.execute(step({"a": 7}, new=[back])).sampled_token_ids == {"a": []}
    assert runner.execute(step({"a": 3}, cached=[cached("a", 7)])).sampled_token_ids == {"a": [answer[2]]}


def test_an_empty_step_drops_rows_and_computes_nothing(runner, model):
    runner.execute(step({"a": 8}, new=[new("a", PROMPT, blocks=[0, 1])]))
    assert model.num_forwards == 1
    assert runner.execute(step({}, finished=["a"])) == ModelRunnerOutput()
    assert runner.known_request_ids == ()
    assert model.num_forwards == 1


def test_draws_do_not_depend_on_chunks_preemption_or_company(runner):
    params = {"temperature": 1.5, "seed": 42}
    alone = runner.execute(step({"a": 8}, new=[new("a", PROMPT, blocks=[0, 1, 2], **params)])).sampled_token_ids["a"]
    second = runner.execute(step({"a": 1}, cached=[cached("a", 8, tokens=alone)])).sampled_token_ids["a"]
    again = new("a", PROMPT, answer=alone, blocks=[9, 10, 11], **params)
    company = new("b", [1, 2], blocks=[3], temperature=1.0, seed=1)
    found = runner.execute(step({"b": 2, "a": 9}, new=[company, again], preempted=["a"]))
    assert found.sampled_token_ids["a"] == second


def test_choices_of_one_seed_differ(runner):
    rows = [
        new(f"a{index}", PROMPT, blocks=[index * 2, index * 2 + 1], temperature=2.0, seed=9, choice_index=index)
        for index in range(4)
    ]
    found = runner.execute(step({row.request_id: 8 for row in rows}, new=rows))
    assert len({tuple(tokens) for tokens in found.sampled_token_ids.values()}) > 1


def test_logprobs_go_to_those_who_ask(runner):
    found = runner.execute(
        step({"a": 8, "b": 2}, new=[new("a", PROMPT, blocks=[0, 1]), new("b", [1, 2], blocks=[2], logprobs=3)])
    )
    assert list(found.logprobs) == ["b"]
    (entry,) = found.logprobs["b"]
    assert entry.token_id == found.sampled_token_ids["b"][0]
    assert entry.rank == 1
    assert entry.logprob == pytest.approx(4.0 - np.log(np.exp(4.0) + VOCAB_SIZE - 1), abs=1e-6)
    assert len(entry.top_token_ids) == 3


def test_logits_that_are_no_numbers_end_one_request(runner, model):
    model.poisoned_tokens = {next_token(PROMPT)}
    assert next_token([1, 2]) not in model.poisoned_tokens
    found = runner.execute(step({"a": 8, "b": 2}, new=[new("a", PROMPT, blocks=[0, 1]), new("b", [1, 2], blocks=[2])]))
    assert list(found.errors) == ["a"]
    assert found.sampled_token_ids["b"] == [next_token([1, 2])]
    assert len(found.sampled_token_ids["a"]) == 1


def test_the_bitmask_is_joined_before_sampling(runner):
    words = np.zeros((1, 4), dtype=np.int32)
    words[0, 2] = 1 << 5
    future: Future[np.ndarray] = Future()
    future.set_result(words)
    scheduled = step({"a": 8}, new=[new("a", PROMPT, blocks=[0, 1])])
    scheduled.grammar_bitmask = future
    assert runner.execute(scheduled).sampled_token_ids == {"a": [69]}


def describe(prompt):
    """What the fake model thinks of each token but the first: the logit of its own favourite is 4, all others are 0."""
    mass = np.log(np.exp(4.0) + VOCAB_SIZE - 1)
    return [(token, 4.0 * (token == next_token(prompt[:end])) - mass) for end, token in enumerate(prompt) if end]


def described(entries):
    return [(entry.token_id, pytest.approx(entry.logprob, abs=1e-6)) for entry in entries]


def test_a_prompt_is_described_chunk_by_chunk(runner):
    expected = describe(PROMPT)
    asking = new("a", PROMPT, blocks=[0, 1, 2], described_from=0, prompt_logprobs=3)
    first = runner.execute(step({"a": 3}, new=[asking])).prompt_logprobs["a"]
    second = runner.execute(step({"b": 2, "a": 5}, new=[new("b", [1, 2], blocks=[5])], cached=[cached("a", 3)]))
    assert list(second.prompt_logprobs) == ["a"]
    assert second.sampled_token_ids["a"] == [next_token(PROMPT)]
    assert (len(first), len(second.prompt_logprobs["a"])) == (3, 4)
    assert described([*first, *second.prompt_logprobs["a"]]) == expected
    assert all(len(entry.top_token_ids) == 3 for entry in first)


def test_logits_of_prompts_are_computed_a_few_rows_at_a_time(model):
    runner = ModelRunner(make_config(num_blocks=64, max_model_len=128, budget=256), model, Sampler())
    prompts = {name: [ord(name) - 97, *range(90)] for name in "ab"}
    asking = [
        new(name, prompts[name], blocks=range(25 * index, 25 * index + 25), described_from=0, prompt_logprobs=0)
        for index, name in enumerate("ab")
    ]
    found = runner.execute(step(dict.fromkeys("ab", 91), new=asking)).prompt_logprobs
    assert {name: described(entries) for name, entries in found.items()} == {
        name: describe(prompt) for name, prompt in prompts.items()
    }
    assert model.head_sizes == [2, 64, 64, 52]


def test_a_prompt_whose_logits_are_no_numbers_ends_its_request_alone(runner, model):
    model.poisoned_tokens = {next_token(PROMPT[:2])}
    rows = [
        new("a", PROMPT, blocks=[0, 1], described_from=0, prompt_logprobs=1),
        new("b", [8, 9], blocks=[2], described_from=0, prompt_logprobs=1),
    ]
    found = runner.execute(step({"a": 3, "b": 2}, new=rows))
    assert list(found.errors) == ["a"]
    assert "for the prompt" in found.errors["a"]
    assert described(found.prompt_logprobs["b"]) == describe([8, 9])
