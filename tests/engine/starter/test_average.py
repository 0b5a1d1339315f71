import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from vllm_local.starter import starter_path
from vllm_local.starter.average import average, mean_weights
from vllm_local.starter.grow import cut_vocabulary


def test_a_mean_is_that_of_each_weight():
    models = [{"one": torch.tensor([1.0, 2.0])}, {"one": torch.tensor([3.0, -2.0])}]
    assert mean_weights(models)["one"].tolist() == [2.0, 0.0]


def test_a_mean_of_models_is_a_model(tmp_path: Path):
    shipped, other = starter_path(), tmp_path / "other"
    shutil.copytree(shipped, other)
    weights = load_file(shipped / "model.safetensors")
    save_file({name: weight * 3 for name, weight in weights.items()}, other / "model.safetensors", {"format": "pt"})
    average([shipped, other], tmp_path / "mean")
    mean = load_file(tmp_path / "mean" / "model.safetensors")
    assert mean.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(mean[name], weight * 2)
    assert (tmp_path / "mean" / "tokenizer.json").read_bytes() == (shipped / "tokenizer.json").read_bytes()


def test_models_of_other_tokenizers_are_refused(tmp_path: Path):
    shipped = Tokenizer.from_file(str(starter_path() / "tokenizer.json"))
    cut_vocabulary(shipped, 400).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="different tokenizers"):
        average([starter_path(), tmp_path], tmp_path / "mean")
