"""Requests from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from vllm_local.cli.bench.sample import SampleRequest
from vllm_local.errors import InvalidConfigError
from vllm_local.tokenizer.tokenizer import Tokenizer

# vLLM leaves out what is too short to measure, and what is longer than models of its first days could take.
_SHORTEST = 4
_LONGEST_PROMPT = 1024
_LONGEST = 2048


def read_custom(path: Path, tokenizer: Tokenizer, count: int, output_len: int) -> list[SampleRequest]:
    """Reads {"prompt": …} lines, with "output_tokens" where they differ from the others.

    Args:
        path: A .jsonl file; if it has fewer requests than `count`, they are taken again.
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
        raise _unreadable(path, error) from error
    return _repeat(samples, count, path)


def read_sharegpt(
    path: Path, tokenizer: Tokenizer, count: int, output_len: int | None = None, seed: int = 0
) -> list[SampleRequest]:
    """Reads the first question of each conversation of a ShareGPT file; its answer says how many tokens to ask for.

    Args:
        path: A .json file, a list of {"conversations": [{"value": …}, …]}.
        tokenizer: The model's, to count.
        count: How many; if the file has fewer, they are taken again.
        output_len: Tokens to ask for, whatever the answers' lengths.
        seed: The same one gives the same conversations.

    Raises:
        InvalidConfigError: The file cannot be read, or has no conversation of a fitting length.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        turns = [[str(turn["value"]) for turn in entry["conversations"][:2]] for entry in content]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error
    pairs = [pair for pair in turns if len(pair) == 2]
    samples: list[SampleRequest] = []
    for index in np.random.default_rng(seed).permutation(len(pairs)).tolist():
        if len(samples) == count:
            break
        sample = _as_sample(pairs[index], tokenizer, output_len)
        if sample.prompt_len >= _SHORTEST and sample.output_len >= (1 if output_len else _SHORTEST) and _fits(sample):
            samples.append(sample)
    return _repeat(samples, count, path)


def _as_sample(pair: list[str], tokenizer: Tokenizer, output_len: int | None) -> SampleRequest:
    prompt, answer = pair
    return SampleRequest(prompt, len(tokenizer.encode(prompt)), output_len or len(tokenizer.encode(answer)))


def _fits(sample: SampleRequest) -> bool:
    return sample.prompt_len <= _LONGEST_PROMPT and sample.prompt_len + sample.output_len <= _LONGEST


def _repeat(samples: list[Any], count: int, path: Path) -> list[Any]:
    if not samples:
        raise InvalidConfigError(f"The dataset {path} has nothing to ask.")
    return [samples[i % len(samples)] for i in range(count)]


def _unreadable(path: Path, error: Exception) -> InvalidConfigError:
    return InvalidConfigError(f"The dataset {path} cannot be read ({type(error).__name__}: {error}).")
