"""Requests to measure with."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vllm_local.cli.flags.arguments import Arguments
from vllm_local.cli.flags.flag import Flag
from vllm_local.cli.flags.values import integer, number
from vllm_local.errors import InvalidConfigError
from vllm_local.tokenizer.tokenizer import Tokenizer

DATASET_FLAGS: tuple[Flag, ...] = (
    Flag(name="dataset-name", choices=("random", "custom"), default="random", help="Made up, or from a file."),
    Flag(
        name="dataset-path",
        help='For custom: a .jsonl file of {"prompt": …} and, if they differ, "output_tokens".',
    ),
    Flag(name="num-prompts", type=integer, default=1000, help="Requests."),
    Flag(name="input-len", type=integer, help="Tokens in a prompt; the same as --random-input-len."),
    Flag(name="output-len", type=integer, help="Tokens in an answer; the same as --random-output-len."),
    Flag(name="random-input-len", type=integer, default=1024, help="Tokens in a random prompt."),
    Flag(name="random-output-len", type=integer, default=128, help="Tokens in the answer to one."),
    Flag(name="random-range-ratio", type=number, default=0.0, help="Lengths vary by this share, in [0, 1)."),
    Flag(name="random-prefix-len", type=integer, default=0, help="Tokens that all random prompts begin with, besides."),
)


@dataclass(frozen=True)
class SampleRequest:
    """A request to measure.

    Attributes:
        prompt: Its text.
        prompt_len: Tokens of it.
        output_len: Tokens that are asked for.
    """

    prompt: str
    prompt_len: int
    output_len: int


def load_dataset(arguments: Arguments, load_tokenizer: Callable[[], Tokenizer], seed: int) -> list[SampleRequest]:
    """Returns the requests that a command line asks for.

    Args:
        arguments: With `DATASET_FLAGS`.
        load_tokenizer: Loads the model's tokenizer.
        seed: The same one gives the same requests.

    Raises:
        InvalidConfigError: An option is wrong, or the file is.
    """
    if arguments["num_prompts"] < 1:
        raise InvalidConfigError(f"--num-prompts must be at least 1, got {arguments['num_prompts']}.")
    output_len = arguments["output_len"] or arguments["random_output_len"]
    if arguments["dataset_name"] == "custom":
        if arguments["dataset_path"] is None:
            raise InvalidConfigError("--dataset-name custom needs --dataset-path.")
        return read_custom(Path(arguments["dataset_path"]), load_tokenizer(), arguments["num_prompts"], output_len)
    if arguments["dataset_path"] is not None:
        raise InvalidConfigError("--dataset-path needs --dataset-name custom.")
    return make_random(
        load_tokenizer(),
        arguments["num_prompts"],
        input_len=arguments["input_len"] or arguments["random_input_len"],
        output_len=output_len,
        range_ratio=arguments["random_range_ratio"],
        prefix_len=arguments["random_prefix_len"],
        seed=seed,
    )


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


def read_custom(path: Path, tokenizer: Tokenizer, count: int, output_len: int) -> list[SampleRequest]:
    """Reads requests from a file; if it has fewer than `count`, they are taken again.

    Args:
        path: A .jsonl file.
        tokenizer: The model's, to count.
        count: How many.
        output_len: Tokens to ask for where a line does not say.

    Raises:
        InvalidConfigError: The file cannot be read, or has a line without a prompt.
    """
    samples = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                entry = json.loads(line)
                prompt = str(entry["prompt"])
                wanted = int(entry.get("output_tokens") or output_len)
                samples.append(SampleRequest(prompt, len(tokenizer.encode(prompt)), wanted))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidConfigError(f"The dataset {path} cannot be read ({type(error).__name__}: {error}).") from error
    if not samples:
        raise InvalidConfigError(f"The dataset {path} is empty.")
    return [samples[i % len(samples)] for i in range(count)]
