"""The requests that a command line asks to measure with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vllm_local.cli.bench.dataset_files import read_custom, read_sharegpt
from vllm_local.cli.bench.random_dataset import make_random
from vllm_local.cli.bench.sample import SampleRequest
from vllm_local.cli.flags.arguments import Arguments
from vllm_local.cli.flags.flag import Flag
from vllm_local.cli.flags.unused import unused
from vllm_local.cli.flags.values import integer, number
from vllm_local.errors import InvalidConfigError
from vllm_local.tokenizer.tokenizer import Tokenizer

_DATASETS = ("random", "sharegpt", "custom")

DATASET_FLAGS: tuple[Flag, ...] = (
    Flag(name="dataset-name", choices=_DATASETS, default="random", help="Made up, or from a file."),
    Flag(
        name="dataset-path",
        help='For sharegpt: its .json file. For custom: a .jsonl file of {"prompt": …}, with "output_tokens" or not.',
    ),
    Flag(name="num-prompts", type=integer, default=1000, help="Requests."),
    Flag(name="input-len", type=integer, help="Tokens in a prompt; the same as --random-input-len."),
    Flag(name="output-len", type=integer, help="Tokens in an answer, whatever the dataset."),
    Flag(name="prefix-len", type=integer, help="The same as --random-prefix-len."),
    Flag(name="random-input-len", type=integer, default=1024, help="Tokens in a random prompt."),
    Flag(name="random-output-len", type=integer, default=128, help="Tokens in the answer to one."),
    Flag(name="random-range-ratio", type=number, default=0.0, help="Lengths vary by this share, in [0, 1)."),
    Flag(name="random-prefix-len", type=integer, default=0, help="Tokens that all random prompts begin with, besides."),
    Flag(name="sharegpt-output-len", type=integer, help="Tokens in an answer; else as long as the file's."),
    Flag(name="custom-output-len", type=integer, default=256, help="Tokens in an answer where the file does not say."),
    *unused("prompts go out as they are in the file", "skip-chat-template? no-oversample?", "Options"),
)


def load_dataset(arguments: Arguments, load_tokenizer: Callable[[], Tokenizer], seed: int) -> list[SampleRequest]:
    """Returns the requests that a command line asks for.

    Args:
        arguments: With `DATASET_FLAGS`.
        load_tokenizer: Loads the model's tokenizer.
        seed: The same one gives the same requests.

    Raises:
        InvalidConfigError: An option is wrong, or the file is.
    """
    name, path, count = arguments["dataset_name"], arguments["dataset_path"], arguments["num_prompts"]
    if count < 1:
        raise InvalidConfigError(f"--num-prompts must be at least 1, got {count}.")
    if (path is None) is not (name == "random"):
        message = "--dataset-path is the file of --dataset-name sharegpt or custom; random prompts have none."
        raise InvalidConfigError(message)
    output_len = arguments["output_len"]
    if name == "custom":
        return read_custom(Path(path), load_tokenizer(), count, output_len or arguments["custom_output_len"])
    if name == "sharegpt":
        return read_sharegpt(Path(path), load_tokenizer(), count, output_len or arguments["sharegpt_output_len"], seed)
    return make_random(
        load_tokenizer(),
        count,
        input_len=arguments["input_len"] or arguments["random_input_len"],
        output_len=output_len or arguments["random_output_len"],
        range_ratio=arguments["random_range_ratio"],
        prefix_len=arguments["prefix_len"] or arguments["random_prefix_len"],
        seed=seed,
    )
