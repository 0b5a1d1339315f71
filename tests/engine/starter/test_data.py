import re
from random import Random

import pytest

from vllm_local.starter.generator import draw_conversation
from vllm_local.starter.sampler import HELD_OUT_PAIRS, TRAIN, SentenceSampler, has_held_out_pair, has_held_out_shape
from vllm_local.starter.source import Source, held_out_numbers, held_out_sums, is_held_out_sum
from vllm_local.starter.tables import read_blocks, read_lines, read_rows
from vllm_local.starter.values import value_kinds

BLOCK_FILES = ["smalltalk", "recall", "translation", "unknown", "values", "facts", "things", "copying"]


def _plain(text: str) -> str:
    return re.sub(r"[^\w{}]+", " ", text.lower()).strip()


@pytest.mark.parametrize("name", BLOCK_FILES)
def test_training_and_held_out_lines_are_disjoint(name):
    train, held_out = (
        {
            _plain(line)
            for lines in read_blocks(f"{split}/{name}.txt").values()
            for line in lines
            if "answer:" not in line
        }
        for split in ("train", "heldout")
    )
    assert held_out
    assert train & held_out == set()


def test_names_are_disjoint():
    assert not set(read_lines("train/names.txt")) & set(read_lines("heldout/names.txt"))


def test_attributes_are_disjoint_and_every_kind_of_value_exists():
    train, held_out = (
        {row[0]: row[1] for row in read_rows(f"{split}/attributes.txt")} for split in ("train", "heldout")
    )
    assert not set(train) & set(held_out)
    assert {*train.values(), *held_out.values()} <= set(value_kinds())


def test_held_out_words_do_not_occur_in_training():
    rng = Random(11)
    conversations = [draw_conversation(rng) for _ in range(6_000)]
    text = "\n".join(message["content"] for drawn in conversations for message in drawn.messages)
    words = set(re.findall(r"\w+", text))
    values = {value for values in read_blocks("heldout/values.txt").values() for value in values if " " not in value}
    assert {*read_lines("heldout/names.txt"), *values} & words == set()


def test_training_draws_no_held_out_number_and_no_held_out_sum():
    source = Source(Random(3))
    assert not {source.number() for _ in range(20_000)} & held_out_numbers()
    assert all(is_held_out_sum(*pair) for pair in held_out_sums())
    assert is_held_out_sum(1, 20)  # "1 + 20" starts with the held-out "1 + 2"


def test_training_sentences_keep_held_out_pairs_and_shapes_apart():
    training = SentenceSampler(Random(5), TRAIN, lambda: "Anna")
    sentences = [training.draw() for _ in range(5_000)]
    assert not any(has_held_out_pair(sentence) or has_held_out_shape(sentence) for sentence in sentences)
    held_out = SentenceSampler(Random(5), HELD_OUT_PAIRS, lambda: "Anna")
    assert all(has_held_out_pair(held_out.draw()) for _ in range(500))
