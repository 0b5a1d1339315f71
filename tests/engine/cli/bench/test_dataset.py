import json

import pytest

from tests.engine.engine_fakes import make_tokenizer
from vllm_local.cli.bench.dataset import DATASET_FLAGS, load_dataset
from vllm_local.cli.flags.arguments import Arguments
from vllm_local.errors import InvalidConfigError


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def load(tokenizer, *arguments):
    return load_dataset(Arguments.parse("bench", DATASET_FLAGS, arguments), lambda: tokenizer, 0)


def test_options_of_either_name(tokenizer):
    (sample,) = load(tokenizer, "--num-prompts", "1", "--input-len", "8", "--random-output-len", "3")
    assert (abs(sample.prompt_len - 8) <= 2, sample.output_len) == (True, 3)


def test_a_prefix_of_either_name(tokenizer):
    for name in ("--prefix-len", "--random-prefix-len"):
        (sample,) = load(tokenizer, "--num-prompts", "1", "--input-len", "8", name, "24")
        assert abs(sample.prompt_len - 32) <= 3


@pytest.mark.parametrize(
    "arguments",
    [("--num-prompts", "0"), ("--dataset-name", "custom"), ("--dataset-path", "x.jsonl"), ("--dataset-name", "sonnet")],
)
def test_options_at_odds(tokenizer, arguments):
    with pytest.raises(InvalidConfigError):
        load(tokenizer, *arguments)


def test_a_sharegpt_file_by_option(tokenizer, tmp_path):
    path = tmp_path / "data.json"
    turns = [{"value": "a question of some length"}, {"value": "an answer of some length"}]
    path.write_text(json.dumps([{"conversations": turns}]), encoding="utf-8")
    options = ("--dataset-name", "sharegpt", "--dataset-path", str(path), "--num-prompts", "2")
    assert len(load(tokenizer, *options)) == 2
    assert load(tokenizer, *options, "--sharegpt-output-len", "9")[0].output_len == 9


def test_a_custom_dataset_by_option(tokenizer, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"prompt": "one"}), encoding="utf-8")
    options = ("--dataset-name", "custom", "--dataset-path", str(path), "--num-prompts", "2", "--output-len", "9")
    assert [sample.output_len for sample in load(tokenizer, *options)] == [9, 9]
