import pytest
import torch

from tests.engine.worker.fakes import blocks_in_use, cached, make_config, new, step
from vllm_local.worker.input_batch import InputBatch

CPU = torch.device("cpu")


@pytest.fixture
def batch():
    return InputBatch(make_config(), CPU)


def advance(batch, scheduled):
    batch.update(scheduled)
    return batch.prepare(scheduled.num_scheduled_tokens)


def test_a_prompt_and_a_chunk_side_by_side(batch):
    inputs = advance(
        batch,
        step(
            {"a": 5, "b": 3},
            new=[new("a", [10, 11, 12, 13, 14], blocks=[7, 2]), new("b", range(20, 30), blocks=[5, 6, 9], computed=4)],
        ),
    )
    assert inputs.request_ids == ["a", "b"]
    assert inputs.token_ids.tolist() == [10, 11, 12, 13, 14, 24, 25, 26]
    assert inputs.attention.positions.tolist() == [0, 1, 2, 3, 4, 4, 5, 6]
    assert inputs.attention.slot_mapping.tolist() == [28, 29, 30, 31, 8, 24, 25, 26]
    assert inputs.attention.query_start_loc.tolist() == [0, 5, 8]
    assert inputs.attention.seq_lens.tolist() == inputs.attention.host_seq_lens == [5, 7]
    assert inputs.attention.query_lens == [5, 3]
    assert blocks_in_use(inputs) == [[7, 2], [5, 6]]
    assert inputs.sampled_request_ids == ["a"]
    assert inputs.logits_indices.tolist() == [4]
    assert inputs.sampling.output_positions.tolist() == [0]


def test_formats_are_those_of_the_kernels(batch):
    inputs = advance(batch, step({"a": 2}, new=[new("a", [1, 2], blocks=[0])]))
    attention = inputs.attention
    assert {tensor.dtype for tensor in (inputs.token_ids, attention.positions, attention.slot_mapping)} == {torch.int64}
    assert {tensor.dtype for tensor in (attention.query_start_loc, attention.seq_lens, attention.block_tables)} == {
        torch.int32
    }


def test_known_requests_grow_by_tokens_and_blocks(batch):
    advance(batch, step({"a": 4}, new=[new("a", [1, 2, 3, 4], blocks=[3])]))
    inputs = advance(batch, step({"a": 1}, cached=[cached("a", computed=4, tokens=[50], blocks=[8])]))
    assert inputs.token_ids.tolist() == [50]
    assert inputs.attention.slot_mapping.tolist() == [32]
    assert blocks_in_use(inputs) == [[3, 8]]
    assert inputs.sampling.output_positions.tolist() == [1]


def test_steps_of_the_same_requests_see_what_changed(batch):
    old, young = new("a", range(7), blocks=[5, 6]), new("b", range(20, 23), blocks=[3])
    advance(batch, step({"a": 7, "b": 3}, new=[old, young]))
    both = {"a": 1, "b": 1}
    inputs = advance(batch, step(both, cached=[cached("a", 7, tokens=[50]), cached("b", 3, tokens=[60])]))
    assert inputs.attention.positions.tolist() == [7, 3]
    assert inputs.attention.slot_mapping.tolist() == [27, 15]
    assert blocks_in_use(inputs)[0] == [5, 6]
    changed = [cached("a", 8, tokens=[51], blocks=[9]), cached("b", 4, tokens=[61], blocks=[8])]
    inputs = advance(batch, step(both, cached=changed))
    assert inputs.attention.slot_mapping.tolist() == [36, 32]
    assert blocks_in_use(inputs)[0] == [5, 6, 9]
    assert blocks_in_use(inputs)[1] == [3, 8]
    inputs = advance(batch, step(both, cached=[cached("a", 9, tokens=[52]), cached("b", 5, tokens=[62])]))
    assert inputs.token_ids.tolist() == [52, 62]
    assert inputs.attention.positions.tolist() == [9, 5]
    assert inputs.sampled_request_ids == ["a", "b"]


def test_a_block_of_a_shorter_request_is_seen(batch):
    old, young = new("a", range(6), blocks=[5, 6]), new("b", range(20, 23), blocks=[3])
    advance(batch, step({"a": 6, "b": 3}, new=[old, young]))
    both = {"a": 1, "b": 1}
    advance(batch, step(both, cached=[cached("a", 6, tokens=[50]), cached("b", 3, tokens=[60])]))
    inputs = advance(batch, step(both, cached=[cached("a", 7, tokens=[51]), cached("b", 4, tokens=[61], blocks=[8])]))
    assert blocks_in_use(inputs) == [[5, 6], [3, 8]]


def test_tokens_may_come_in_runs_and_be_computed_anew(batch):
    advance(batch, step({"a": 2}, new=[new("a", [1, 2], blocks=[0, 1])]))
    inputs = advance(batch, step({"a": 4}, cached=[cached("a", computed=2, tokens=[3, 4, 5, 6])]))
    assert inputs.token_ids.tolist() == [3, 4, 5, 6]
    again = advance(batch, step({"a": 2}, cached=[cached("a", computed=4)]))
    assert again.token_ids.tolist() == [5, 6]
    assert again.sampled_request_ids == ["a"]


def test_the_order_is_the_steps_not_that_of_arrival(batch):
    advance(batch, step({"a": 1, "b": 1}, new=[new("a", [1], blocks=[0]), new("b", [2], blocks=[1])]))
    inputs = advance(batch, step({"b": 1, "a": 1}, cached=[cached("a", 1, tokens=[3]), cached("b", 1, tokens=[4])]))
    assert inputs.token_ids.tolist() == [4, 3]
    assert inputs.sampled_request_ids == ["b", "a"]


def test_rows_are_given_back(batch):
    for number in range(20):
        ids = [f"{number}-{index}" for index in range(4)]
        batch.update(step({}, new=[new(request_id, [1], blocks=[0]) for request_id in ids]))
        assert batch.request_ids == tuple(ids)
        finished, preempted = ids[:2], ids[2:]
        batch.update(step({}, finished=finished, preempted=preempted))
        assert batch.request_ids == ()


def test_a_row_keeps_nothing_of_the_request_before(batch):
    advance(batch, step({"a": 8}, new=[new("a", range(8), blocks=[9, 9], presence_penalty=1.0)]))
    inputs = advance(batch, step({"b": 2}, new=[new("b", [5, 6], blocks=[4])], finished=["a"]))
    assert inputs.token_ids.tolist() == [5, 6]
    assert blocks_in_use(inputs) == [[4]]
    assert inputs.sampling.penalised.counts == ()


def test_unknown_requests_are_not_dropped_twice(batch):
    batch.update(step({}, new=[new("a", [1], blocks=[0])]))
    batch.update(step({}, finished=["a", "x"], preempted=["a"]))
    assert batch.request_ids == ()


def test_a_request_comes_back_in_the_step_that_dropped_it(batch):
    advance(batch, step({"a": 3}, new=[new("a", [1, 2, 3], blocks=[0])]))
    inputs = advance(batch, step({"a": 4}, new=[new("a", [1, 2, 3], answer=[9], blocks=[6])], preempted=["a"]))
    assert inputs.token_ids.tolist() == [1, 2, 3, 9]
    assert inputs.attention.slot_mapping.tolist() == [24, 25, 26, 27]
    assert inputs.sampling.output_positions.tolist() == [1]


def test_sampling_metadata_is_kept_while_the_same_requests_are_sampled(batch):
    first = advance(batch, step({"a": 1, "b": 1}, new=[new("a", [1], blocks=[0]), new("b", [2], blocks=[1])]))
    second = advance(batch, step({"a": 1, "b": 1}, cached=[cached("a", 1, [5]), cached("b", 1, [6])]))
    assert second.sampling is first.sampling
    assert second.sampling.output_positions.tolist() == [1, 1]
    swapped = advance(batch, step({"b": 1, "a": 1}, cached=[cached("b", 2, [7]), cached("a", 2, [7])]))
    assert swapped.sampling is not second.sampling
    assert [state.params for state in swapped.sampling.states] == [state.params for state in second.sampling.states]
    fewer = advance(batch, step({"b": 1}, cached=[cached("b", 3, [8])], finished=["a"]))
    assert len(fewer.sampling.states) == 1


def test_a_namesake_gets_its_own_sampling(batch):
    first = advance(batch, step({"a": 1}, new=[new("a", [1], blocks=[0], seed=1)]))
    second = advance(batch, step({"a": 1}, new=[new("a", [1], blocks=[0], temperature=1.0)], finished=["a"]))
    assert second.sampling is not first.sampling
    assert second.sampling.states[0].params.temperature == 1.0


def test_penalties_count_what_was_appended(batch):
    advance(batch, step({"a": 2}, new=[new("a", [1, 2], blocks=[0, 1], frequency_penalty=0.5)]))
    advance(batch, step({"a": 1}, cached=[cached("a", 2, tokens=[30])]))
    inputs = advance(batch, step({"a": 1}, cached=[cached("a", 3, tokens=[30])]))
    (counts,) = inputs.sampling.penalised.counts
    assert counts.token_ids.tolist() == [30]
    assert counts.counts.tolist() == [2.0]


def test_scheduling_more_than_is_known_is_our_own_mistake(batch):
    batch.update(step({}, new=[new("a", [1, 2], blocks=[0])]))
    with pytest.raises(AssertionError, match="more tokens"):
        batch.prepare({"a": 3})
    with pytest.raises(AssertionError, match="no tokens"):
        batch.prepare({"a": 0})


def test_the_longest_request_fills_its_row():
    config = make_config(num_blocks=4, block_size=4, max_num_seqs=1, max_model_len=14, budget=16)
    batch = InputBatch(config, CPU)
    inputs = advance(batch, step({"a": 13}, new=[new("a", range(13), blocks=[3, 2, 1, 0])]))
    assert blocks_in_use(inputs) == [[3, 2, 1, 0]]
    inputs = advance(batch, step({"a": 1}, cached=[cached("a", 13, tokens=[13])]))
    assert inputs.attention.slot_mapping.tolist() == [1]


def prompt_rows(inputs):
    found = inputs.prompt_rows
    columns = (found.indices.tolist(), found.token_ids.tolist(), found.num_top_logprobs.tolist())
    return list(zip(found.request_ids, *columns, strict=True))


def test_prompt_rows_are_the_positions_before_a_token_of_the_prompt(batch):
    prompt = [10, 11, 12, 13, 14]
    asking = new("a", prompt, blocks=[0, 1], described_from=0, prompt_logprobs=2)
    inputs = advance(batch, step({"b": 2, "a": 2}, new=[new("b", [1, 2], blocks=[2]), asking]))
    assert prompt_rows(inputs) == [("a", 2, 11, 2), ("a", 3, 12, 2)]
    inputs = advance(batch, step({"a": 3}, cached=[cached("a", 2)]))
    assert prompt_rows(inputs) == [("a", 0, 13, 2), ("a", 1, 14, 2)]
    inputs = advance(batch, step({"a": 1}, cached=[cached("a", 5, tokens=[50])]))
    assert inputs.prompt_rows is None


def test_prompt_rows_go_on_where_they_were_left(batch):
    back = new("a", [10, 11, 12, 13], blocks=[0, 1, 2], answer=[50, 51], described_from=2, prompt_logprobs=0)
    inputs = advance(batch, step({"a": 6}, new=[back]))
    assert prompt_rows(inputs) == [("a", 2, 13, 0)]


def test_a_namesake_has_no_prompt_rows(batch):
    advance(batch, step({"a": 1}, new=[new("a", [1, 2, 3], blocks=[0], described_from=0, prompt_logprobs=0)]))
    inputs = advance(batch, step({"a": 3}, new=[new("a", [1, 2, 3], blocks=[0])], finished=["a"]))
    assert inputs.prompt_rows is None


def test_a_prompt_of_one_token_has_no_prompt_rows(batch):
    inputs = advance(batch, step({"a": 1}, new=[new("a", [1], blocks=[0], described_from=0, prompt_logprobs=0)]))
    assert prompt_rows(inputs) == []
