"""The mean of models from one line of training: ``python -m vllm_local.starter.average --models A B --output NEW``.

Where one was trained on from another, what each of them got wrong by chance of its last steps cancels out in the mean
of their weights (model soups, Wortsman et al. 2022), which costs no training.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from vllm_local.starter.export import network_sizes, save_model
from vllm_local.starter.network import Network


def mean_weights(models: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of models' weights, by their names; fp32.

    Args:
        models: Each model's weights, of the same names and shapes.
    """
    return {name: torch.stack([weights[name].float() for weights in models]).mean(0) for name in models[0]}


def average(models: Sequence[Path], output: Path) -> None:
    """Write the mean of models with the same tokenizer.

    Args:
        models: Their folders.
        output: Folder to write.

    Raises:
        ValueError: Their tokenizers differ, so that their weights belong to other tokens.
    """
    tokenizers = [Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in models]
    if len({tokenizer.to_str() for tokenizer in tokenizers}) > 1:
        message = f"{', '.join(map(str, models))} have different tokenizers; give models that were trained on from one."
        raise ValueError(message)
    network = Network(network_sizes(tokenizers[0]))
    network.read_llama(mean_weights([load_file(folder / "model.safetensors") for folder in models]))
    save_model(network, dict(network.named_parameters()), tokenizers[0], output)


def main() -> None:
    """Parse the command line and write the model."""
    parser = argparse.ArgumentParser(description="Write the mean of models from one line of training.")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="folders of the models")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    average(arguments.models, arguments.output)


if __name__ == "__main__":
    main()
