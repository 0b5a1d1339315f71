"""Requests that are made up, as vLLM makes them up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vllm_local.cli.bench.sample import SampleRequest
from vllm_local.errors import InvalidConfigError
from vllm_local.tokenizer.tokenizer import Tokenizer


def make_random(
    tokenizer: Tokenizer,
    count: int,
    *,
    input_len: int,
    output_len: int,
    range_ratio: float = 0.0,
    prefix_len: int = 0,
    seed: int = 0,
) -> list[SampleRequest]:
    """Makes up requests as vLLM does: runs of the vocabulary, from random places.

    Args:
        tokenizer: The model's.
        count: How many.
        input_len: Tokens of a prompt, special tokens included.
        output_len: Tokens to ask for.
        range_ratio: Lengths vary by this share.
        prefix_len: Tokens that all prompts begin with, besides.
        seed: The same one gives the same requests.

    Raises:
        InvalidConfigError: A length or the share is out of its bounds.
    """
    if not 0 <= range_ratio < 1:
        raise InvalidConfigError(f"--random-range-ratio must be in [0, 1), got {range_ratio}.")
    plain_len = input_len - len(tokenizer.encode(""))
    if math.floor(plain_len * (1 - range_ratio)) + prefix_len < 1 or output_len < 1:
        raise InvalidConfigError(f"Prompts of {input_len} tokens or answers of {output_len} are too short to measure.")
    random = np.random.default_rng(seed)
    inputs = _lengths(random, max(plain_len, 0), range_ratio, count)
    outputs = np.maximum(_lengths(random, output_len, range_ratio, count), 1)
    allowed = [token_id for token_id in range(tokenizer.vocab_size) if token_id not in tokenizer.special_token_ids]
    prefix = [allowed[i] for i in random.integers(0, len(allowed), size=prefix_len)]
    offsets = random.integers(0, len(allowed), size=count)
    samples = []
    for index, (length, wanted, offset) in enumerate(
        zip(inputs.tolist(), outputs.tolist(), offsets.tolist(), strict=True)
    ):
        inner = [allowed[(offset + index + i) % len(allowed)] for i in range(length)]
        text, actual = _text_of_length(tokenizer, [*prefix, *inner], allowed, random)
        samples.append(SampleRequest(text, actual, wanted))
    return samples


def _lengths(random: np.random.Generator, mean: int, ratio: float, count: int) -> Any:
    return random.integers(math.floor(mean * (1 - ratio)), math.ceil(mean * (1 + ratio)) + 1, size=count)


def _text_of_length(
    tokenizer: Tokenizer, tokens: list[int], allowed: list[int], random: np.random.Generator
) -> tuple[str, int]:
    """Returns a text that encodes to as many tokens as are given, or as near as a few tries get."""
    wanted = len(tokens)
    text = ""
    for _ in range(10):
        text = tokenizer.decode(tokens, skip_special_tokens=False)
        tokens = tokenizer.encode(text, add_special_tokens=False)
        if len(tokens) == wanted:
            break
        # Neighbours merge into other tokens: cut what is too much, add what is missing.
        tokens = tokens[:wanted] + [
            allowed[i] for i in random.integers(0, len(allowed), size=max(wanted - len(tokens), 0))
        ]
    return text, len(tokenizer.encode(text, add_special_tokens=False))
