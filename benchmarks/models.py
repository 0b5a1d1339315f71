"""Bench models: real configurations with random weights, made on this machine, kept in a folder outside git."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers

from vllm_local.starter import starter_path

CACHE = Path(__file__).parent / ".models"

QWEN2_5_0_5B: dict[str, Any] = {
    "model_type": "qwen2",
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

SMOLLM2_135M: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "vocab_size": 49152,
}
"""config.json of HuggingFaceTB/SmolLM2-135M-Instruct."""

LLAMA_3_2_1B: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 131072,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "vocab_size": 128256,
}
"""config.json of meta-llama/Llama-3.2-1B-Instruct."""

CONFIGURATIONS = {"qwen2.5-0.5b": QWEN2_5_0_5B, "smollm2-135m": SMOLLM2_135M, "llama-3.2-1b": LLAMA_3_2_1B}

WEIGHT_DEVIATION = 0.05
"""Of the random weights; with transformers' own 0.02 attention would be all but even, whatever the positions."""


def bench_model(name: str = "qwen2.5-0.5b") -> Path:
    """Returns the folder of a bench model in bf16, and makes it first where it is not there yet.

    The tokenizer is the starter model's, with words of their own for the ids that it lacks: random weights choose among
    all, and a token without text would cost nothing to detokenise and send.
    """
    folder = CACHE / name
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        settings = {**CONFIGURATIONS[name], "initializer_range": WEIGHT_DEVIATION, "dtype": "bfloat16"}
        config = transformers.AutoConfig.for_model(**settings)
        model = transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
        model.save_pretrained(folder.with_suffix(".tmp"))
        folder.with_suffix(".tmp").rename(folder)
    shutil.copy(starter_path() / "tokenizer_config.json", folder)
    _write_tokenizer(folder / "tokenizer.json", CONFIGURATIONS[name]["vocab_size"])
    return folder


def _write_tokenizer(path: Path, vocab_size: int) -> None:
    """Writes the starter model's tokenizer with a larger vocabulary; no text is encoded into the additional words."""
    tokenizer = json.loads((starter_path() / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    taken = {*vocabulary.values(), *(token["id"] for token in tokenizer["added_tokens"])}
    vocabulary |= {f"Ġw{token_id}": token_id for token_id in range(vocab_size) if token_id not in taken}
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
