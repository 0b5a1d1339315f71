"""Experts that lie in one tensor a layer are the same model as experts one by one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.engine.models.checkpoints import save_reference
from tests.engine.models.paged import PagedRequest, PagedRunner
from vllm_local.config import EngineConfig
from vllm_local.errors import CorruptModelError
from vllm_local.models.loader import load_model, read_model_config, weight_bytes


def logits_of(folder: Path) -> torch.Tensor:
    config = read_model_config(folder, EngineConfig(model=str(folder)), "cpu")
    decoder = load_model(folder, config, device="cpu", progress=False)
    (rows,) = PagedRunner(decoder).step([(PagedRequest([5, 3, 8, 1]), 4)])
    return rows


@pytest.mark.parametrize("name", ["qwen3-moe", "mixtral"])
def test_fused_and_separate_experts_are_the_same_model(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    separate, fused = tmp_path / "separate", tmp_path / "fused"
    save_reference(name, separate)
    save_reference(name, fused, save_original_format=False)
    names = [set(load_file(folder / "model.safetensors")) for folder in (separate, fused)]
    assert any(".experts.0." in weight for weight in names[0])
    assert any(weight.endswith(".experts.gate_up_proj") for weight in names[1])
    assert torch.equal(logits_of(fused), logits_of(separate))
    assert weight_bytes(fused, "float32") == weight_bytes(separate, "float32")
    assert "does not use" not in caplog.text


def test_a_fused_tensor_of_another_shape_is_named(tmp_path: Path):
    save_reference("mixtral", tmp_path, save_original_format=False)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    name = "model.layers.0.mlp.experts.down_proj"
    save_file(tensors | {name: tensors[name][:3].clone()}, path)
    with pytest.raises(CorruptModelError, match=r"lacks 'model\.layers\.0\.block_sparse_moe\.experts\.0\.w2\.weight'"):
        logits_of(tmp_path)
    save_file(tensors | {name: tensors[name][..., 1:].clone()}, path)
    with pytest.raises(CorruptModelError, match="has shape"):
        logits_of(tmp_path)
