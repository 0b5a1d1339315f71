"""A tiny random Llama that transformers itself saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

VOCAB_SIZE = 300


@pytest.fixture(scope="session")
def llama():
    """The reference model, in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,  # wide enough that the best two logits are rarely close
        eos_token_id=None,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def llama_path(llama, tmp_path_factory) -> Path:
    """Its folder."""
    path = tmp_path_factory.mktemp("models") / "tiny-llama"
    llama.save_pretrained(path)
    return path
