"""Bench models: real configurations with random weights, made on this machine, kept in a folder outside git."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import transformers

from vllm_local.starter import starter_path

CACHE = Path(__file__).parent / ".models"

QWEN2_5_0_5B: dict[str, Any] = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "vocab_size": 151936,
}
"""config.json of Qwen/Qwen2.5-0.5B-Instruct."""


def bench_model(name: str = "qwen2.5-0.5b") -> Path:
    """Returns the folder of a bench model in bf16, and makes it first where it is not there yet.

    The tokenizer is the starter model's: the benchmarks send token ids and never look at the text.
    """
    folder = CACHE / name
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        config = transformers.Qwen2Config(**QWEN2_5_0_5B, dtype="bfloat16")
        model = transformers.Qwen2ForCausalLM(config).to(torch.bfloat16)
        model.save_pretrained(folder.with_suffix(".tmp"))
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(starter_path() / file, folder.with_suffix(".tmp") / file)
        folder.with_suffix(".tmp").rename(folder)
    return folder
