import json

import pytest

from tests.engine.engine_fakes import make_tokenizer
from vllm_local.cli.bench.dataset_files import read_custom, read_sharegpt
from vllm_local.errors import InvalidConfigError


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def test_a_file_of_prompts(tokenizer, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": "one two"}\n\n{"prompt": "three", "output_tokens": 7}\n', encoding="utf-8")
    samples = read_custom(path, tokenizer, 3, 5)
    assert [(sample.prompt, sample.output_len) for sample in samples] == [("one two", 5), ("three", 7), ("one two", 5)]
    assert samples[0].prompt_len == len(tokenizer.encode("one two"))


@pytest.mark.parametrize("text", ["", "{", '{"text": "x"}', "[]"])
def test_other_files_are_refused(tokenizer, tmp_path, text):
    path = tmp_path / "data.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidConfigError, match=r"data\.jsonl"):
        read_custom(path, tokenizer, 3, 5)


def conversation(question, answer, *more):
    return {"conversations": [{"from": "x", "value": text} for text in (question, answer, *more)]}


@pytest.fixture
def sharegpt(tmp_path):
    def write(*entries):
        path = tmp_path / "sharegpt.json"
        path.write_text(json.dumps(entries), encoding="utf-8")
        return path

    return write


def test_conversations(tokenizer, sharegpt):
    question, answer = "the quick brown fox jumps", "over the lazy dog, and on"
    path = sharegpt(conversation(question, answer, "more"), conversation("no answer", ""), conversation("x", answer))
    (sample,) = set(read_sharegpt(path, tokenizer, 3))
    assert sample.prompt == question
    assert (sample.prompt_len, sample.output_len) == (len(tokenizer.encode(question)), len(tokenizer.encode(answer)))
    assert read_sharegpt(path, tokenizer, 1, 7)[0].output_len == 7


def test_conversations_are_shuffled_by_seed(tokenizer, sharegpt):
    path = sharegpt(*(conversation(f"question number {i} of many", "an answer of some length") for i in range(20)))
    assert read_sharegpt(path, tokenizer, 5, seed=1) == read_sharegpt(path, tokenizer, 5, seed=1)
    assert read_sharegpt(path, tokenizer, 5, seed=1) != read_sharegpt(path, tokenizer, 5, seed=2)
    assert len(set(read_sharegpt(path, tokenizer, 20))) == 20


def test_conversations_of_other_lengths_are_left_out(tokenizer, sharegpt):
    long = "word " * 1100
    path = sharegpt(conversation(long, "an answer of some length"), {"conversations": []})
    with pytest.raises(InvalidConfigError, match="nothing to ask"):
        read_sharegpt(path, tokenizer, 1)


def test_other_shapes_are_refused(tokenizer, sharegpt):
    with pytest.raises(InvalidConfigError, match="KeyError"):
        read_sharegpt(sharegpt({"messages": []}), tokenizer, 1)
