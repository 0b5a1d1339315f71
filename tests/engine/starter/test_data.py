from importlib.resources import files
from random import Random

import pytest

from tests.engine.starter.held_out import held_out_files, template_of
from vllm_local.starter.lexicon import load_lexicon
from vllm_local.starter.sampler import (
    HELD_OUT_PAIRS,
    RICH,
    TRAIN,
    SentenceSampler,
    features_of,
    has_held_out_pair,
    has_held_out_shape,
)
from vllm_local.starter.source import Source, held_out_numbers, held_out_sums, is_held_out_sum
from vllm_local.starter.syntax import Taste
from vllm_local.starter.tables import read_blocks, read_lines, read_rows
from vllm_local.starter.values import draw_value, value_kinds

LISTS = [
    name for name in held_out_files() if (files("vllm_local.starter") / "data" / "train" / f"{name}.txt").is_file()
]


def _said(lines):
    """What the lines of a list say, apart from answers, descriptions and lines that are little but placeholders."""
    templates = [template_of(line) for line in lines if not line.startswith((">", "answer:", "arg:", "opt:"))]
    return {template.pieces for template in templates if not template.placeholders or template.words > 1}


def test_most_held_out_lists_have_a_training_list():
    assert set(held_out_files()) - set(LISTS) == {"numbers", "shapes", "sums", "surnames"}


@pytest.mark.parametrize("name", LISTS)
def test_training_and_held_out_lines_are_disjoint(name):
    train, held_out = (_said(read_lines(f"{split}/{name}.txt")) for split in ("train", "heldout"))
    assert train
    assert held_out
    assert train & held_out == set()


def test_lines_that_differ_in_case_and_marks_only_are_no_two_lines():
    assert _said(["ask: What is my {x}?"]) == _said(["> ask", "what is my {attribute}", "answer: It is {x}."])
    assert _said(["{ask} {json}", "in {value}"]) == set()


def test_tool_names_are_disjoint():
    train, held_out = (
        {line.split("|")[0].strip().lower() for line in read_blocks(f"{split}/tools.txt")}
        for split in ("train", "heldout")
    )
    assert len(held_out) >= 30
    assert not train & held_out


def test_attributes_are_disjoint_and_every_kind_of_value_exists():
    train, held_out = (
        {row[0]: row[1] for row in read_rows(f"{split}/attributes.txt")} for split in ("train", "heldout")
    )
    assert not set(train) & set(held_out)
    assert {*train.values(), *held_out.values()} <= set(value_kinds())


def test_training_draws_no_held_out_number_and_no_held_out_sum():
    source = Source(Random(3))
    assert not {source.number() for _ in range(20_000)} & held_out_numbers()
    assert not {draw_value(source, "integer").json for _ in range(20_000)} & held_out_numbers()
    assert all(is_held_out_sum(*pair) for pair in held_out_sums())
    assert is_held_out_sum(1, 20)  # "1 + 20" starts with the held-out "1 + 2"


def test_training_sentences_keep_held_out_pairs_and_shapes_apart():
    training = SentenceSampler(Random(5), TRAIN, lambda: "Anna", RICH)
    sentences = [training.draw() for _ in range(5_000)]
    assert not any(has_held_out_pair(sentence) or has_held_out_shape(sentence) for sentence in sentences)
    held_out = SentenceSampler(Random(5), HELD_OUT_PAIRS, lambda: "Anna")
    assert all(has_held_out_pair(held_out.draw()) for _ in range(500))


def test_training_sentences_have_more_features_at_once_than_those_of_evaluation():
    shares = []
    for values in ("train", "heldout"):
        sampler = Source(Random(7), values=values).sampler
        shares.append(sum(len(features_of(sampler.draw())) > 1 for _ in range(2_000)) / 2_000)
    assert shares[0] > 2 * shares[1] > 0


def test_all_that_one_can_like_is_liked_in_training():
    training = SentenceSampler(Random(6), TRAIN, lambda: "Anna")
    drawn = [training.draw() for _ in range(20_000)]
    liked = {sentence.liked for sentence in drawn if isinstance(sentence, Taste) and sentence.verb == "like"}
    assert set(load_lexicon().activities) <= liked
