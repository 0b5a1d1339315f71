"""The operations on rows, each against its formula."""

import math

import pytest
import torch

from vllm_local.kernels.interface import Activation, Kernels
from vllm_local.kernels.torch_ref import TorchKernels
from vllm_local.kernels.torch_ref.linear import PlainLinear

FORMULAS = {
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: max(x, 0.0),
}


def make_kernels(dtype: torch.dtype = torch.float32) -> Kernels:
    """As the interface: mypy checks here that the backend has all of it."""
    return TorchKernels("cpu", dtype)


def test_embedding_rows_become_the_residual_stream():
    kernels = make_kernels(torch.bfloat16)
    table = torch.randn(7, 4)
    residual = kernels.embed(torch.tensor([3, 0, 3]), kernels.pack_embedding(table))
    assert residual.dtype == torch.float32
    assert torch.equal(residual, table.bfloat16()[[3, 0, 3]].float())


def test_given_rows_are_copied():
    rows = torch.ones(2, 3, dtype=torch.float16)
    residual = make_kernels().as_residual(rows)
    residual += 1
    assert rows.eq(1).all()
    same = torch.ones(2, 3)
    assert make_kernels().as_residual(same) is not same


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_linear_is_added_to_the_residual_in_place(dtype: torch.dtype):
    kernels = make_kernels(dtype)
    weight, rows, residual = torch.randn(6, 4).to(dtype), torch.randn(3, 4).to(dtype), torch.randn(3, 6)
    wanted = residual + rows.float() @ weight.float().T
    kernels.linear_add(rows, kernels.pack_linear([weight], split="input"), residual)
    torch.testing.assert_close(residual, wanted, rtol=1e-2, atol=2e-2 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh", "relu"])
def test_activations(activation: Activation, gated: bool):
    torch.manual_seed(0)
    kernels = make_kernels()
    weights = [torch.randn(5, 4) for _ in range(2 if gated else 1)]
    biases = [torch.randn(5) for _ in weights]
    rows = torch.randn(3, 4)
    result = kernels.activated_linear(rows, kernels.pack_activated_linear(weights, biases, activation=activation))
    outputs = [rows @ weight.T + bias for weight, bias in zip(weights, biases, strict=True)]
    wanted = outputs[0].clone().apply_(FORMULAS[activation])
    torch.testing.assert_close(result, wanted * outputs[1] if gated else wanted)


def test_a_plain_linear_has_no_activation():
    kernels = make_kernels()
    with pytest.raises(AssertionError):
        kernels.activated_linear(torch.ones(1, 2), kernels.pack_linear([torch.ones(2, 2)]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_float32_and_scaled(dtype: torch.dtype):
    kernels = make_kernels(dtype)
    weight, rows = torch.randn(9, 4).to(dtype), torch.randn(2, 4).to(dtype)
    logits = kernels.logits(rows, kernels.pack_linear([weight]), 0.5)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, 0.5 * (rows.float() @ weight.float().T), rtol=1e-2, atol=2e-2)
    out = torch.full_like(logits, torch.nan)
    assert kernels.logits(rows, kernels.pack_linear([weight]), 0.5, out).data_ptr() == out.data_ptr()
    assert torch.equal(out, logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tied_head_has_the_embeddings_weights(dtype: torch.dtype):
    kernels = make_kernels(dtype)
    table, rows = torch.randn(9, 4).to(dtype), torch.randn(2, 4).to(dtype)
    embedding, head = kernels.pack_tied_embedding(table)
    assert torch.equal(kernels.logits(rows, head), kernels.logits(rows, kernels.pack_linear([table])))
    assert torch.equal(kernels.embed(torch.tensor([8, 0]), embedding), table[[8, 0]].float())


def test_a_tied_head_shares_memory_where_it_can(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    kernels = TorchKernels("cpu", torch.float32)
    embedding, head = kernels.pack_tied_embedding(torch.randn(9, 4))
    assert isinstance(head, PlainLinear)
    assert head.weight is embedding
