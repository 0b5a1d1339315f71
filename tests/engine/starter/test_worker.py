import multiprocessing

import torch

from vllm_local.starter.corpus import Batch
from vllm_local.starter.network import Network, Sizes
from vllm_local.starter.worker import Shared, Worker

SIZES = Sizes(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_key_value_heads=2, head_dim=8)


def test_each_matrix_takes_a_step_of_its_own():
    network = Network(SIZES, torch.float32)
    network.initialise(seed=2)
    before = network.qkv[0].detach().clone()
    shared = Shared.create(sum(p.numel() for p in network.parameters()), 1, multiprocessing.Barrier(1), before.device)
    shared.weights.copy_(torch.cat([parameter.detach().flatten() for parameter in network.parameters()]))
    worker = Worker(0, shared, network)
    tokens = torch.randint(0, 60, (4, 16), generator=torch.Generator().manual_seed(1))
    batch = Batch(tokens, tokens.roll(-1, 1), torch.ones_like(tokens, dtype=torch.bool))
    worker.step([batch], [batch.answers], rate=1.0)
    change = worker.weights()["qkv.0"] - before
    queries, keys, values = (torch.linalg.matrix_norm(part) for part in change.split((32, 16, 16)))
    assert 0.5 < queries / values < 2
    assert 0.5 < keys / values < 2
