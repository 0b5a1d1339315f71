"""Taking a trained model over into today's sizes: ``python -m vllm_local.starter.grow --model OLD --output NEW``.

The vocabulary is cut to the first merges of its byte-pair encoding, which leaves every text readable in smaller tokens,
and heads of keys and values are copied, which leaves what the network computes as it was. Training goes on from there
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
from vllm_local.starter.tokenizer import VOCABULARY

_EMBEDDING = "model.embed_tokens.weight"


def cut_vocabulary(tokenizer: Tokenizer, size: int) -> tuple[Tokenizer, list[int]]:
    """Return a tokenizer with the first merges only, and for each of its tokens the id that it had.

    Args:
        tokenizer: A byte-level BPE tokenizer whose added tokens have the last ids.
        size: Tokens to keep, the added ones among them, all of which stay.
    """
    description: dict[str, Any] = json.loads(tokenizer.to_str())
    added, model = description["added_tokens"], description["model"]
    merged = size - len(added)
    model["vocab"] = {token: index for token, index in model["vocab"].items() if index < merged}
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in model["vocab"]]
    kept = [*range(merged), *(token["id"] for token in added)]
    for index, token in enumerate(added, start=merged):
        token["id"] = index
    return Tokenizer.from_str(json.dumps(description)), kept


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


def grow(model: Path, output: Path, vocabulary: int = VOCABULARY) -> None:
    """Write a model folder in today's sizes.

    Args:
        model: Folder of the model to take over.
        output: Folder to write.
        vocabulary: Tokens to keep.
    """
    tokenizer, kept = cut_vocabulary(Tokenizer.from_file(str(model / "tokenizer.json")), vocabulary)
    sizes = network_sizes(tokenizer)
    weights = copy_kv_heads(load_file(model / "model.safetensors"), sizes)
    weights[_EMBEDDING] = weights[_EMBEDDING][torch.tensor(kept)]
    network = Network(sizes)
    network.read_llama(weights)
    save_model(network, dict(network.named_parameters()), tokenizer, output)


def main() -> None:
    """Parse the command line and write the model."""
    parser = argparse.ArgumentParser(description="Take a model over into today's sizes.")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    grow(arguments.model, arguments.output)


if __name__ == "__main__":
    main()
