"""Slopes as the published MPT models have them."""

import pytest
import torch

from vllm_local.layers.alibi import alibi_slopes


def test_powers_of_two_are_a_geometric_series():
    assert alibi_slopes(8) == tuple(2.0**-i for i in range(1, 9))
    assert alibi_slopes(2, bias_max=16) == (2.0**-8, 2.0**-16)
    assert alibi_slopes(1) == (2.0**-8,)


@pytest.mark.parametrize("num_heads", [1, 3, 6, 12, 32, 40, 64, 71])
def test_slopes_are_those_of_transformers(num_heads: int):
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    wanted = -build_mpt_alibi_tensor(num_heads, 2, alibi_bias_max=6)[:, 0, 0]
    torch.testing.assert_close(torch.tensor(alibi_slopes(num_heads, 6)), wanted)
