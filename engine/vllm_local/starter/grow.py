"""Taking a trained model over into today's sizes: ``python -m vllm_local.starter.grow --model OLD --output NEW``.

The vocabulary is cut to the first merges of its byte-pair encoding, which leaves every text readable in smaller tokens,
heads of keys and values are copied and layers that add nothing yet are put in, which leaves what the network computes
as it was. A new `rope_theta` does not, but is learned within a million tokens. Training goes on from there
(``train --start NEW``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from vllm_local.starter.export import network_sizes, save_model
from vllm_local.starter.network import Network, Sizes
from vllm_local.starter.tokenizer import MERGED, completed

_LAYERS = "model.layers."
_ADDING = ("o_proj", "down_proj")
_EMBEDDING = "model.embed_tokens.weight"


def cut_vocabulary(tokenizer: Tokenizer, merged: int) -> Tokenizer:
    """Return the starter's tokenizer with the first merges only.

    Args:
        tokenizer: A byte-level BPE tokenizer.
        merged: Tokens to keep; whole words and the template's marks come on top.
    """
    description: dict[str, Any] = json.loads(tokenizer.to_str())
    model = description["model"]
    model["vocab"] = {token: index for token, index in model["vocab"].items() if index < merged}
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in model["vocab"]]
    return completed(Tokenizer.from_str(json.dumps(description | {"added_tokens": []})))


def take_embeddings(rows: Tensor, old: Tokenizer, new: Tokenizer) -> Tensor:
    """Return the embeddings [V, H] of the new tokenizer's tokens: the old ones, or means of what a token is made of.

    Args:
        rows: Embeddings of the old tokenizer's tokens.
        old: The tokenizer that the model has.
        new: The one that it is to have.
    """

    def row(token: str, index: int) -> Tensor:
        known = old.token_to_id(token)
        parts = [known] if known is not None else old.encode(new.decode([index])).ids
        return rows[parts].float().mean(0)

    by_index = sorted(new.get_vocab().items(), key=lambda item: item[1])
    return torch.stack([row(*item) for item in by_index]).to(rows.dtype)


def copy_kv_heads(weights: Mapping[str, Tensor], sizes: Sizes) -> dict[str, Tensor]:
    """Return the weights of a `LlamaForCausalLM` with each head of keys and values as often as the sizes ask for.

    Args:
        weights: By their names there.
        sizes: The sizes to come to; its heads of keys and values are a multiple of those that there are.
    """
    wanted = sizes.num_key_value_heads

    def copied(weight: Tensor) -> Tensor:
        heads = weight.view(-1, sizes.head_dim, weight.shape[1])
        return heads.repeat_interleave(wanted // len(heads), 0).flatten(0, 1)

    return {
        name: copied(weight) if "k_proj" in name or "v_proj" in name else weight for name, weight in weights.items()
    }


def insert_layers(weights: Mapping[str, Tensor], sizes: Sizes) -> dict[str, Tensor]:
    """Return the weights of a `LlamaForCausalLM` with copies of layers, evenly spread, that change nothing yet.

    A copy's last projections are zero. Source: Wu et al., LLaMA Pro (2024), https://arxiv.org/abs/2401.02415.

    Args:
        weights: By their names there.
        sizes: The sizes to come to; at most twice as many layers as there are.
    """
    old = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith(_LAYERS))
    more = sizes.num_hidden_layers - old
    copied = {(index + 1) * old // (more + 1) - 1 for index in range(more)}
    # Each layer of the grown model: the old one, and whether it is a copy.
    plan = [(layer, is_copy) for layer in range(old) for is_copy in (False, True)[: 1 + (layer in copied)]]
    grown = {name: weight for name, weight in weights.items() if not name.startswith(_LAYERS)}
    for new, (layer, is_copy) in enumerate(plan):
        prefix = f"{_LAYERS}{layer}."
        for name in [name for name in weights if name.startswith(prefix)]:
            silent = is_copy and any(part in name for part in _ADDING)
            weight = torch.zeros_like(weights[name]) if silent else weights[name]
            grown[f"{_LAYERS}{new}.{name.removeprefix(prefix)}"] = weight
    return grown


def grow(model: Path, output: Path, merged: int = MERGED) -> None:
    """Write a model folder in today's sizes.

    Args:
        model: Folder of the model to take over.
        output: Folder to write.
        merged: Tokens to keep, as for `cut_vocabulary`.
    """
    old = Tokenizer.from_file(str(model / "tokenizer.json"))
    new = cut_vocabulary(old, merged)
    sizes = network_sizes(new)
    weights = insert_layers(copy_kv_heads(load_file(model / "model.safetensors"), sizes), sizes)
    weights[_EMBEDDING] = take_embeddings(weights[_EMBEDDING], old, new)
    network = Network(sizes)
    network.read_llama(weights)
    save_model(network, dict(network.named_parameters()), new, output)


def main() -> None:
    """Parse the command line and write the model."""
    parser = argparse.ArgumentParser(description="Take a model over into today's sizes.")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    grow(arguments.model, arguments.output)


if __name__ == "__main__":
    main()
