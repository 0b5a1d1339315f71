from random import Random

import pytest
import torch

from tests.engine.worker.fakes import blocks_in_use, cached, make_config, new, step
from vllm_local.worker.input_batch import InputBatch

CPU = torch.device("cpu")
NAMES = ("a", "b", "c")


def seen(inputs):
    """Return all numbers of a step's inputs; of a request's blocks those that it has tokens in."""
    attention = inputs.attention
    tensors = (inputs.token_ids, attention.positions, attention.slot_mapping, attention.query_start_loc)
    return [
        inputs.request_ids,
        inputs.sampled_request_ids,
        [tensor.tolist() for tensor in tensors],
        attention.seq_lens.tolist(),
        list(attention.host_seq_lens),
        blocks_in_use(inputs),
        inputs.logits_indices.tolist(),
        inputs.sampling.output_positions.tolist(),
    ]


class Requests:
    """Requests of blocks of 4 tokens, told step by step, and at once to a batch that has seen none of the steps."""

    def __init__(self, lengths):
        self._free = list(range(64))
        self._lengths = list(lengths.values())
        self.tokens = {name: list(range(100, 100 + length)) for name, length in lengths.items()}
        self.blocks = {name: self._take(-(-length // 4)) for name, length in lengths.items()}

    def _take(self, count):
        return [self._free.pop() for _ in range(count)]

    def first_step(self):
        known = [new(name, self.tokens[name], blocks=list(self.blocks[name])) for name in self.tokens]
        return step({name: len(tokens) for name, tokens in self.tokens.items()}, new=known)

    def next_step(self, token):
        changes = []
        for name, tokens in self.tokens.items():
            computed = len(tokens)
            tokens.append(token)
            token += 1
            added = self._take(-(-len(tokens) // 4) - len(self.blocks[name]))
            self.blocks[name] += added
            changes.append(cached(name, computed, tokens=tokens[-1:], blocks=added))
        return step(dict.fromkeys(self.tokens, 1), cached=changes)

    def seen_afresh(self, in_general=False):
        batch = InputBatch(make_config(), CPU)
        known = [
            new(name, tokens[:length], self.blocks[name], answer=tokens[length:], computed=len(tokens) - 1)
            for (name, tokens), length in zip(self.tokens.items(), self._lengths, strict=True)
        ]
        batch.update(step({}, new=known))
        lay_out = batch._lay_out_anew if in_general else batch.prepare
        return seen(lay_out(dict.fromkeys(self.tokens, 1)))


@pytest.mark.parametrize("seed", range(5))
def test_steps_of_decoding_are_those_of_a_batch_that_begins_there(seed):
    rng = Random(seed)
    requests = Requests({name: rng.randint(1, 9) for name in NAMES})
    batch = InputBatch(make_config(), CPU)
    scheduled = requests.first_step()
    batch.update(scheduled)
    batch.prepare(scheduled.num_scheduled_tokens)
    objects = []
    for number in range(14):
        scheduled = requests.next_step(1000 + 10 * number)
        batch.update(scheduled)
        inputs = batch.prepare(scheduled.num_scheduled_tokens)
        objects.append(inputs)
        assert seen(inputs) == requests.seen_afresh() == requests.seen_afresh(in_general=True)
    assert len(set(map(id, objects))) <= 5, "most steps bring the last one's inputs forward"


def test_what_is_no_such_step_is_laid_out_anew():
    requests = Requests(dict.fromkeys(NAMES, 5))
    batch = InputBatch(make_config(), CPU)
    for scheduled in (requests.first_step(), requests.next_step(1000), requests.next_step(2000)):
        batch.update(scheduled)
        inputs = batch.prepare(scheduled.num_scheduled_tokens)
    # The same tokens again, then fewer requests, then all of them, one with two tokens.
    again = [cached(name, 7) for name in NAMES]
    batch.update(step(dict.fromkeys(NAMES, 1), cached=again[:0]))
    assert batch.prepare(dict.fromkeys(NAMES, 1)).attention.host_seq_lens == [7, 7, 7]
    batch.update(step({"a": 1}, cached=[cached("a", 7, tokens=[7])]))
    assert batch.prepare({"a": 1}).attention.positions.tolist() == [7]
    changes = [cached("a", 8, tokens=[8], blocks=[40]), cached("b", 7, tokens=[17]), cached("c", 7, tokens=[27])]
    batch.update(step(dict.fromkeys(NAMES, 1), cached=changes))
    inputs = batch.prepare(dict.fromkeys(NAMES, 1))
    assert inputs.token_ids.tolist() == [8, 17, 27]
    assert inputs.attention.positions.tolist() == [8, 7, 7]
