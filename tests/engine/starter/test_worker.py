import multiprocessing

import pytest
import torch

from vllm_local.starter.corpus import Batch, Packed
from vllm_local.starter.network import Network, Sizes
from vllm_local.starter.worker import Shared, Worker

SIZES = Sizes(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_key_value_heads=2, head_dim=8)


def lone_worker() -> tuple[Worker, Network, Shared]:
    network = Network(SIZES, torch.float32)
    network.initialise(seed=2)
    weights = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    shared = Shared.create(len(weights), 1, multiprocessing.Barrier(1), weights.device)
    shared.weights.copy_(weights)
    return Worker(0, shared, network), network, shared


def some_batch(rows: int, length: int, seed: int) -> Batch:
    tokens = torch.randint(0, 60, (rows, length), generator=torch.Generator().manual_seed(seed))
    return Batch(tokens, tokens.roll(-1, 1), torch.ones_like(tokens, dtype=torch.bool))


def test_each_matrix_takes_a_step_of_its_own():
    worker, network, _ = lone_worker()
    before = network.qkv[0].detach().clone()
    batch = some_batch(4, 16, seed=1)
    worker.step([batch], [batch.answers], rate=1.0)
    change = worker.weights()["qkv.0"] - before
    queries, keys, values = (torch.linalg.matrix_norm(part) for part in change.split((32, 16, 16)))
    assert 0.5 < queries / values < 2
    assert 0.5 < keys / values < 2


def test_the_loss_on_a_row_s_answers_is_that_of_the_row_alone():
    worker, network, _ = lone_worker()
    batch, other = some_batch(3, 16, seed=1), some_batch(2, 8, seed=2)
    batch.answers[1, :12] = False
    batch.answers[2] = False
    batch.targets[0, 10:] = -100
    losses = worker.answer_losses([batch, other])
    assert len(losses) == 5
    assert losses[2] == 0.0
    for row, found in enumerate(losses[:2]):
        alone = Batch(*(tensor[row : row + 1] for tensor in vars(batch).values()))
        counted = alone.answers & (alone.targets != -100)
        expected = network.losses(Packed.of([alone], [counted], batch.tokens.device))
        assert len(expected) == (10, 4)[row]
        assert found == pytest.approx(expected.sum().item(), rel=1e-5)


def test_a_step_tells_its_losses_and_its_tokens():
    worker, _, shared = lone_worker()
    batch = some_batch(2, 16, seed=3)
    batch.targets[:, -1] = -100
    batch.answers[:, :10] = False
    expected = sum(worker.answer_losses([batch]))
    worker.step([batch], [batch.targets != -100], rate=0.0)
    assert shared.losses.tolist() == [[pytest.approx(expected, rel=1e-5), 10.0]]
    assert shared.tokens.tolist() == [30]
