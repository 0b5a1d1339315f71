import re
from random import Random

import pytest

from vllm_local.starter.skills.choices import several_choices
from vllm_local.starter.skills.extraction import repeated_extractions, several_extractions
from vllm_local.starter.skills.grammar import expand, request, vocabulary
from vllm_local.starter.skills.objects import several_objects
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks

FILES = ["clauses", "requests", "statements"]


@pytest.mark.parametrize("file", FILES)
def test_every_part_is_a_block(file):
    blocks = read_blocks(f"train/{file}.txt")
    parts = {part for lines in blocks.values() for line in lines for part in re.findall(r"\[([a-z ]+)\??\]", line)}
    assert parts
    assert parts <= set(blocks)


@pytest.mark.parametrize("file", FILES)
def test_no_part_is_left_in_a_line(file):
    source = Source(Random(1))
    for heading in read_blocks(f"train/{file}.txt"):
        for _ in range(20):
            assert not re.search(r"\[[a-z ]+\??\]", expand(source, file, heading))


def test_training_asks_in_many_ways_and_evaluation_in_the_listed_ones():
    train, held_out = Source(Random(2)), Source(Random(2), frames="heldout")
    assert len({request(train, "extraction", "user") for _ in range(500)}) > 400
    listed = read_blocks("heldout/extraction.txt")["user"]
    assert {request(held_out, "extraction", "user") for _ in range(500)} == set(listed)


def test_a_composed_request_keeps_its_text_and_its_fields():
    source = Source(Random(3))
    for _ in range(500):
        frame = request(source, "extraction", "user")
        assert frame.count("{text}") == 1
        assert any(f"{{{part}}}" in frame for part in ("keys", "quoted", "plain", "example"))


def test_no_word_stands_twice_among_the_words_of_a_kind():
    for heading in read_blocks("train/vocabulary.txt"):
        words = vocabulary(heading)
        assert len(words) == len(set(words))


@pytest.mark.parametrize("maker", [several_choices, several_extractions, repeated_extractions, several_objects])
def test_several_texts_have_an_answer_each(maker):
    for seed in range(50):
        source = Source(Random(seed), room=1024)
        roles = [message["role"] for message in maker(source).messages if message["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert len(roles) >= 2
