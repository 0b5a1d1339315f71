"""Writing a trained network as an ordinary model folder, and its loss plot."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer
from torch import Tensor

from vllm_local.starter.network import Network, Sizes
from vllm_local.starter.tokenizer import END, MAX_LENGTH, PAD, save_tokenizer, token_id

if TYPE_CHECKING:
    from transformers import LlamaConfig


def network_sizes(tokenizer: Tokenizer) -> Sizes:
    """Return the starter model's sizes."""
    return Sizes(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=MAX_LENGTH)


def llama_config(tokenizer: Tokenizer) -> LlamaConfig:
    """Return transformers' configuration of the model."""
    from transformers import LlamaConfig

    sizes = asdict(network_sizes(tokenizer))
    theta = sizes.pop("rope_theta")
    return LlamaConfig(
        **sizes,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=token_id(tokenizer, END),
        pad_token_id=token_id(tokenizer, PAD),
    )


def save_model(network: Network, weights: Mapping[str, Tensor], tokenizer: Tokenizer, folder: Path) -> None:
    """Write the model in bf16 with its tokenizer; each file is replaced in one step.

    Args:
        network: The network whose weights they are.
        weights: The weights by the network's names.
        tokenizer: The tokenizer.
        folder: Where to write.
    """
    from transformers import GenerationConfig, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        staging = Path(temporary)
        save_tokenizer(tokenizer, staging)
        model = LlamaForCausalLM(llama_config(tokenizer))
        model.load_state_dict(network.llama_weights(weights))
        model.bfloat16()
        model.config.dtype = torch.bfloat16
        end, pad = token_id(tokenizer, END), token_id(tokenizer, PAD)
        model.generation_config = GenerationConfig(do_sample=False, eos_token_id=[end, pad], pad_token_id=pad)
        model.save_pretrained(staging)
        for path in staging.iterdir():
            path.chmod(0o644)
            path.replace(folder / path.name)


def plot_losses(losses: list[tuple[int, float]], path: Path) -> None:
    """Draw the loss on the answers over the tokens."""
    from matplotlib.figure import Figure

    window = max(1, len(losses) // 200)
    smooth = [
        sum(loss for _, loss in losses[max(0, i - window) : i + 1]) / (i + 1 - max(0, i - window))
        for i in range(len(losses))
    ]
    figure = Figure(figsize=(7, 4), layout="tight")
    axes = figure.subplots()
    axes.plot([tokens / 1e6 for tokens, _ in losses], smooth)
    axes.set(xlabel="million tokens", ylabel="loss on answers (nats per token)", yscale="log")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
