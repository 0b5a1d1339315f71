"""The decoder's own contract; that it computes the right numbers is test_parity.py's business."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.engine.models.checkpoints import save_reference
from tests.engine.models.paged import PagedRequest, make_metadata
from vllm_local.config import EngineConfig, KVCacheConfig
from vllm_local.models.decoder import Decoder
from vllm_local.models.loader import load_model, read_model_config

TOKEN_IDS = [5, 3, 8, 1]


def load(name: str, folder: Path, dtype: str = "float32") -> Decoder:
    save_reference(name, folder)
    config = read_model_config(folder, EngineConfig(model=str(folder), dtype=dtype), "cpu")
    return load_model(folder, config, device="cpu", progress=False)


def forward(decoder: Decoder, inputs: torch.Tensor) -> torch.Tensor:
    config = KVCacheConfig(num_blocks=2, block_size=4, groups=decoder.config.info.kv_cache_groups)
    metadata = make_metadata([PagedRequest(TOKEN_IDS, 0, [1])], [len(TOKEN_IDS)])
    return decoder.forward(inputs, metadata, decoder.kernels.allocate_kv_cache(config))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shapes_and_dtypes(dtype: str, tmp_path: Path):
    decoder = load("mpt-8-heads", tmp_path, dtype)
    hidden = forward(decoder, torch.tensor(TOKEN_IDS))
    assert (hidden.shape, hidden.dtype) == ((4, 48), getattr(torch, dtype))
    logits = decoder.compute_logits(hidden[2:])
    assert (logits.shape, logits.dtype) == ((2, 199), torch.float32)
    assert not logits.requires_grad


def test_embedding_rows_instead_of_token_ids(tmp_path: Path):
    decoder = load("llama-gqa", tmp_path)
    table = load_file(tmp_path / "model.safetensors")["model.embed_tokens.weight"]
    rows = table[TOKEN_IDS]
    assert torch.equal(forward(decoder, rows), forward(decoder, torch.tensor(TOKEN_IDS)))
    assert torch.equal(rows, table[TOKEN_IDS]), "the caller's rows are left alone"
    rounded = forward(decoder, rows.half())
    torch.testing.assert_close(rounded, forward(decoder, rows), rtol=0.05, atol=0.05)


def test_logits_may_be_overwritten(tmp_path: Path):
    decoder = load("llama-mqa-tied", tmp_path)
    hidden = forward(decoder, torch.tensor(TOKEN_IDS))
    logits = decoder.compute_logits(hidden)
    wanted = logits.clone()
    with torch.inference_mode():
        logits.zero_()
    assert torch.equal(decoder.compute_logits(hidden), wanted)


def test_one_cache_a_layer(tmp_path: Path):
    decoder = load("llama-gqa", tmp_path)
    config = KVCacheConfig(num_blocks=2, block_size=4, groups=decoder.config.info.kv_cache_groups)
    caches: list[Any] = decoder.kernels.allocate_kv_cache(config)
    assert len(caches) == decoder.config.num_layers == 2
    metadata = make_metadata([PagedRequest(TOKEN_IDS, 0, [1])], [4])
    with pytest.raises(ValueError, match="shorter"):
        decoder.forward(torch.tensor(TOKEN_IDS), metadata, caches[:1])
