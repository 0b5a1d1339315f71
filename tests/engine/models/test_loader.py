"""From a folder to a decoder, and everything that can be wrong with the folder."""

import json
import logging
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.engine.models.checkpoints import save_reference
from tests.engine.models.paged import PagedRequest, PagedRunner
from vllm_local.config import EngineConfig
from vllm_local.errors import CorruptModelError, ModelLoadError, UnsupportedModelError
from vllm_local.models.decoder import Decoder
from vllm_local.models.loader import load_model, read_model_config, weight_bytes

Tensors = dict[str, torch.Tensor]


def load(folder: Path, *, progress: bool = False, load_format: str = "auto", dtype: str = "auto") -> Decoder:
    engine = EngineConfig(model=str(folder), load_format=load_format, dtype=dtype)
    config = read_model_config(folder, engine, "cpu")
    return load_model(folder, config, device="cpu", progress=progress, load_format=load_format)


def logits_of(decoder: Decoder) -> torch.Tensor:
    (rows,) = PagedRunner(decoder).step([(PagedRequest([5, 3, 8, 1]), 4)])
    return rows


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def edit_weights(folder: Path, change: Callable[[Tensors], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    save_reference("llama-gqa", tmp_path)
    return tmp_path


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtype_is_read_from_either_spelling_or_the_weights(dtype: str, tmp_path: Path):
    save_reference("llama-gqa", tmp_path, dtype=getattr(torch, dtype))

    def read_dtype() -> str:
        return read_model_config(tmp_path, EngineConfig(model="x"), "cuda").dtype

    edit_config(tmp_path, dtype=None, torch_dtype=dtype)
    assert read_dtype() == dtype
    edit_config(tmp_path, dtype=f"torch.{dtype}", torch_dtype=None)
    assert read_dtype() == dtype
    edit_config(tmp_path, dtype=None)
    assert read_dtype() == dtype
    assert read_model_config(tmp_path, EngineConfig(model="x", dtype="float32"), "cuda").info.dtype == "float32"


def test_missing_weights_are_named(llama: Path):
    edit_weights(llama, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(CorruptModelError, match=r"lacks 'model\.layers\.1\.mlp\.up_proj\.weight'"):
        load(llama)
    edit_config(llama, num_hidden_layers=4)
    with pytest.raises(CorruptModelError, match=r"and \d+ more weights"):
        weight_bytes(llama, "float32")


def test_misshapen_weights_are_named(llama: Path):
    edit_weights(llama, lambda tensors: tensors.update({"model.norm.weight": torch.ones(3)}))
    with pytest.raises(CorruptModelError, match=r"model\.safetensors: tensor 'model\.norm\.weight' has shape \(3,\)"):
        load(llama)


def test_quantised_weights_are_named(llama: Path):
    name = "model.layers.0.self_attn.q_proj.weight"
    edit_weights(llama, lambda tensors: tensors.update({name: tensors[name].to(torch.float8_e4m3fn)}))
    with pytest.raises(UnsupportedModelError, match=rf"{name}' is in F8_E4M3; quantised"):
        load(llama)


def test_weights_that_nobody_needs(llama: Path, caplog: pytest.LogCaptureFixture):
    wanted = logits_of(load(llama))
    edit_weights(llama, lambda tensors: tensors.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(logits_of(load(llama)), wanted)
    assert not caplog.records
    edit_weights(llama, lambda tensors: tensors.update({"adapter.weight": torch.ones(4)}))
    with caplog.at_level(logging.WARNING):
        weight_bytes(llama, "float32")
        assert torch.equal(logits_of(load(llama)), wanted)
    (record,) = caplog.records
    assert record.getMessage() == "The checkpoint holds 'adapter.weight', which a LlamaForCausalLM does not use."


def test_a_head_beside_a_tied_embedding_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    save_reference("llama-mqa-tied", tmp_path)
    wanted = logits_of(load(tmp_path))
    edit_weights(tmp_path, lambda tensors: tensors.update({"lm_head.weight": torch.randn(199, 48)}))
    assert torch.equal(logits_of(load(tmp_path)), wanted)
    assert not caplog.records


def test_an_untied_head_must_be_there(tmp_path: Path):
    save_reference("llama-mqa-tied", tmp_path)
    edit_config(tmp_path, tie_word_embeddings=False)
    with pytest.raises(CorruptModelError, match=r"lm_head\.weight"):
        load(tmp_path)


def test_a_file_that_was_cut_off(llama: Path):
    path = llama / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptModelError, match="was cut off"):
        load(llama)


def test_pickle_weights_when_asked_for(llama: Path):
    wanted = logits_of(load(llama))
    torch.save(load_file(llama / "model.safetensors"), llama / "pytorch_model.bin")
    (llama / "model.safetensors").unlink()
    edit_config(llama, dtype=None)
    with pytest.raises(UnsupportedModelError, match="pickle"):
        load(llama)
    assert torch.equal(logits_of(load(llama, load_format="pt")), wanted)
    assert weight_bytes(llama, "float32", "pt") > 0


def test_code_beside_a_model_never_runs(llama: Path):
    trace = llama / "trace"
    (llama / "modeling_evil.py").write_text(f"open({str(trace)!r}, 'w')", encoding="utf-8")
    edit_config(llama, auto_map={"AutoConfig": "modeling_evil.A", "AutoModelForCausalLM": "modeling_evil.B"})
    load(llama)
    assert not trace.exists()
    edit_config(llama, architectures=["EvilForCausalLM"])
    with pytest.raises(UnsupportedModelError, match="EvilForCausalLM"):
        load(llama)
    assert not trace.exists()


def test_weights_stay_when_their_files_change(llama: Path):
    decoder = load(llama)
    wanted = logits_of(decoder)
    size = (llama / "model.safetensors").stat().st_size
    with (llama / "model.safetensors").open("r+b") as stream:
        stream.write(b"\xff" * size)
    assert torch.equal(logits_of(decoder), wanted)


def test_progress_is_drawn_on_stderr_only_when_asked_for(
    llama: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    load(llama, progress=True)
    assert capfd.readouterr() == ("", ""), "not a terminal"
    monkeypatch.setenv("FORCE_COLOR", "1")
    load(llama)
    assert capfd.readouterr() == ("", "")
    load(llama, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Loading weights" in err


def test_any_error_is_a_model_load_error(tmp_path: Path):
    with pytest.raises(ModelLoadError):
        load(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_peak_memory_stays_near_the_size_of_the_weights(dtype: str, tmp_path: Path):
    code = f"""
        from pathlib import Path
        from tests.engine.models.test_loader import load

        def peak():
            line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
            return int(line.split()[1]) * 1024

        before = peak()
        decoder = load(Path({str(tmp_path)!r}), dtype={dtype!r})
        print(peak() - before)
    """
    fields = {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 8000,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 4,
        "num_attention_heads": 16,
        "max_position_embeddings": 64,
        "dtype": dtype,
    }
    (tmp_path / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    shapes = read_model_config(tmp_path, EngineConfig(model="x"), "cpu").weight_shapes()
    save_file({name: torch.zeros(shape).half() for name, shape in shapes.items()}, tmp_path / "model.safetensors")
    environment = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    # Beside the weights: the largest one twice, gaps in the heap, and what oneDNN takes when it is first used.
    # A second copy of the weights, or the whole file mapped at once, would not pass.
    assert int(result.stdout) < 1.2 * weight_bytes(tmp_path, dtype) + 90e6
