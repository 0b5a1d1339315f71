"""Attention for training: the same as torch's own, and so are its gradients."""

import pytest
import torch
from torch.nn import functional as F

from vllm_local.starter.attention import causal_attention


@pytest.mark.parametrize("length", [1, 8, 127, 128, 129, 300])
def test_outputs_and_gradients_are_those_of_torch(length: int) -> None:
    torch.manual_seed(length)
    ours = [torch.randn(2, 4, length, 16, requires_grad=True) for _ in range(3)]
    theirs = [rows.detach().clone().requires_grad_() for rows in ours]
    upstream = torch.randn(2, 4, length, 16)

    output = causal_attention(*ours)
    expected = F.scaled_dot_product_attention(theirs[0], theirs[1], theirs[2], is_causal=True)
    output.backward(upstream)
    expected.backward(upstream)

    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_as_exact_as_bfloat16_can_be() -> None:
    torch.manual_seed(0)
    rows = [torch.randn(1, 2, 200, 64) for _ in range(3)]

    output = causal_attention(*(part.bfloat16() for part in rows))

    assert output.dtype == torch.bfloat16
    expected = F.scaled_dot_product_attention(rows[0], rows[1], rows[2], is_causal=True)
    torch.testing.assert_close(output.float(), expected, rtol=0.05, atol=0.05)
