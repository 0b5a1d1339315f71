"""Rotation angles against transformers' own functions."""

from typing import Any

import pytest
import torch

from vllm_local.layers.rotary import LinearScaling, Llama3Scaling, RotaryScaling, rotary_frequencies

SCALINGS: dict[str, tuple[RotaryScaling | None, dict[str, Any]]] = {
    "default": (None, {}),
    "linear": (LinearScaling(factor=4.0), {"factor": 4.0}),
    "llama3": (
        Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192),
        {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    ),
}


@pytest.mark.parametrize("theta", [10000.0, 500000.0])
@pytest.mark.parametrize("name", SCALINGS)
def test_angles_are_those_of_transformers(name: str, theta: float):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    scaling, parameters = SCALINGS[name]
    rope = {"rope_type": name, "rope_theta": theta, **parameters}
    embedding = LlamaRotaryEmbedding(LlamaConfig(hidden_size=256, num_attention_heads=2, rope_parameters=rope))
    wanted: Any = embedding.inv_freq
    actual = torch.tensor(rotary_frequencies(128, theta, scaling))
    torch.testing.assert_close(actual, wanted, rtol=1e-6, atol=0)


def test_llama3_keeps_short_waves_and_stretches_long_ones():
    scaling = SCALINGS["llama3"][0]
    assert scaling is not None
    assert scaling.apply(1.0) == 1.0
    assert scaling.apply(1e-5) == 1e-5 / 8
    assert 1e-3 / 8 < scaling.apply(1.5e-3) < 1.5e-3
