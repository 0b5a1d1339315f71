import re
from random import Random

import pytest

from vllm_local.starter.skills.instructions import (
    count_until,
    end_with,
    first_words,
    in_sentences,
    instructions,
    sentences,
)
from vllm_local.starter.skills.numbers import held_out_sum, sums
from vllm_local.starter.skills.thinking import spell, think_letters, think_other, think_sum, work_out
from vllm_local.starter.source import Source, held_out_sums, is_held_out_sum
from vllm_local.starter.tables import read_blocks

SPLITS = ["train", "heldout"]


def _source(split, seed=7):
    return Source(Random(seed), frames=split, values=split)


def _ends(conversation):
    last = conversation.messages[-1]
    return conversation.messages[-2]["content"], last["reasoning_content"], last["content"]


def _equations(text):
    for terms, result in re.findall(r"(\d+(?:[+-]\d+)+)=(\d+)", text):
        yield sum(int(term) for term in re.findall(r"^\d+|[+-]\d+", terms)), int(result)


def _plain(text):
    return re.sub(r"[^\w{}]+", " ", text.lower()).strip()


@pytest.mark.parametrize(
    ("terms", "working"),
    [
        ((7, "+", 3), "7+3: 7+3=10,0+0+1=1,10."),
        ((12, "-", 2), "12-2: 2-2=0,1-0-0=1,10."),
        ((7, "+", 0), "7+0: 7+0=7,0+0+0=0,7."),
        ((47, "+", 38), "47+38: 7+8=15,4+3+1=8,85."),
        ((43, "-", 18), "43-18: 13-8=5,4-1-1=2,25."),
        ((99, "+", 99), "99+99: 9+9=18,9+9+1=19,198."),
    ],
)
def test_a_sum_is_worked_out_step_by_step(terms, working):
    assert work_out(*terms) == working


@pytest.mark.parametrize("split", SPLITS)
def test_sums_and_their_workings_are_right(split):
    source = _source(split)
    for _ in range(2_000):
        question, reasoning, answer = _ends(think_sum(source))
        (total,) = re.findall(r"= (\d+)\.", answer)
        terms = [int(term) for term in re.findall(r"\d+", answer.partition("=")[0])]
        assert eval(answer.partition("=")[0]) == int(total)
        assert sorted(re.findall(r"\d+", question), key=int) == sorted(map(str, terms), key=int)
        assert reasoning.endswith(f",{total}.")
        assert list(_equations(reasoning))
        assert all(right == said for right, said in _equations(reasoning))


def _terms(answer: str) -> list[int]:
    return [int(term) for term in re.findall(r"\d+", answer)[:2]]


def test_training_asks_for_no_held_out_sum_and_the_evaluation_only_for_those():
    train, held_out = _source("train"), _source("heldout")
    for _ in range(2_000):
        for answer in (_ends(think_sum(train))[2], sums(train)[-1]["content"]):
            first, second = _terms(answer)
            assert not is_held_out_sum(first, second)
        first, second = _terms(_ends(think_sum(held_out))[2])
        assert is_held_out_sum(first, second)
    assert len(held_out_sums()) >= 60
    assert re.match(r"\d+ [+-] \d+ = \d+\.$", held_out_sum(held_out)[-1]["content"])


@pytest.mark.parametrize("split", SPLITS)
def test_letters_are_spelled_and_counted(split):
    source = _source(split)
    for _ in range(1_000):
        question, reasoning, answer = _ends(think_letters(source))
        spelled = "".join(re.findall(r"([^\W\d])\d+", reasoning.partition(":")[2]))
        assert spelled in question
        assert re.findall(r"(\d+)\.$", reasoning) == re.findall(r"\d+", answer)
        if found := re.match(r"The letter (\w) occurs (\d+) times? in (\w+)\.$", answer):
            assert found[3] == spelled
            assert spelled.count(found[1]) == int(found[2])
        else:
            assert answer == f"The word {spelled} has {len(spelled)} letters."
        word = spell(source)
        assert word[1]["content"].rstrip(".").replace(", ", "") in word[0]["content"]


@pytest.mark.parametrize("split", SPLITS)
def test_ordinary_thoughts_are_short_and_keep_the_answer(split):
    source = _source(split)
    for _ in range(400):
        conversation = think_other(source)
        _, reasoning, answer = _ends(conversation)
        assert conversation.thinking
        assert answer
        assert reasoning.startswith(("The user ", "I do not know this.", "This is small talk."))
        if reasoning.startswith("The user told me: "):
            told = [message["content"] for message in conversation.messages if message["role"] == "user"]
            assert reasoning.removeprefix("The user told me: ") in told


@pytest.mark.parametrize("split", SPLITS)
def test_instructions_are_obeyed(split):
    source = _source(split)
    for _ in range(400):
        question, answer = (message["content"] for message in count_until(source))
        numbers = [int(number) for number in answer.split(", ")]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert str(numbers[0]) in question
        end = end_with(source)
        mark = re.findall(r"[A-Z ]+$", end[-1]["content"])[0].split()[-1]
        assert mark in " ".join(message["content"] for message in end[:-1])
        question, answer = (message["content"] for message in first_words(source))
        assert answer in question
        count = len(re.findall(r"\.(?: |$)", in_sentences(source)[1]["content"]))
        assert 1 <= count <= 4
        assert all("{" not in message["content"] for message in instructions(source))


def test_a_text_of_so_many_sentences():
    assert sentences("text", 2, "dog") == "The dog is big. I see the dog."
    assert sentences("me", 1) == "I am a very small language model."


def test_a_seed_gives_the_same_conversations():
    makers = (think_sum, think_letters, think_other, instructions)
    first, second = ([maker(_source("train", 4)) for maker in makers] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["thinking.txt", "instructions.txt"])
def test_training_and_held_out_lines_are_disjoint(name):
    train, held_out = (
        {_plain(line) for lines in read_blocks(f"{split}/{name}").values() for line in lines} for split in SPLITS
    )
    assert held_out
    assert train & held_out == set()
