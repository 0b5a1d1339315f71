from random import Random

import pytest

from vllm_local.starter.skills.copying import lookup, one_of_list
from vllm_local.starter.skills.facts import ask_again, correct, draw_fact
from vllm_local.starter.skills.phrasing import expand, fill, fresh, is_held_out, politely
from vllm_local.starter.skills.recall import quiz, spread_recall
from vllm_local.starter.source import Source


def test_one_part_of_each_group_is_taken_inner_ones_first():
    drawn = {expand(Random(seed), "(a|b(c|d)) e(|f)") for seed in range(100)}
    assert drawn == {f"{first} e{last}" for first in ("a", "bc", "bd") for last in ("", "f")}


def test_braces_in_a_value_stay():
    assert fill("{s} is {v}. {w}", s="my {v}", v="{s}") == "my {v} is {s}. {w}"


@pytest.mark.parametrize(
    "text",
    ["Please tell me what my hat is!", "so, COULD you tell me my name?", "my gym day is Monday", "OK, stop!"],
)
def test_a_held_out_wording_is_found(text):
    assert is_held_out(text)


def test_a_fresh_text_is_no_held_out_one():
    texts = iter(("One more thing: my hat is red.", "Also, my hat is red."))
    assert fresh(Source(Random(1)), lambda: next(texts)) == "Also, my hat is red."


def test_what_is_drawn_among_held_out_values_is_taken_as_it_is():
    assert fresh(Source(Random(1), values="heldout"), lambda: "OK, stop!") == "OK, stop!"


def test_a_question_is_not_made_a_request():
    source = Source(Random(2))
    assert {politely(source, "Can you stop?") for _ in range(50)} == {"Can you stop?"}
    assert len({politely(source, "Stop here.") for _ in range(200)}) > 50


def test_facts_are_told_and_answered_with_their_value():
    source = Source(Random(4))
    for fact in (draw_fact(source) for _ in range(3_000)):
        assert fact.value in fact.told
        assert fact.value in fact.answer
        again = ask_again(source, fact)
        assert (again.value, again.answer) == (fact.value, fact.answer)
        if fact.kind:
            corrected = correct(source, fact)
            assert corrected.value in corrected.told
            assert corrected.answer == f"Your {fact.about} is {corrected.value}."


def test_wordings_of_facts_hardly_ever_repeat():
    source = Source(Random(5))
    facts = [draw_fact(source) for _ in range(2_000)]
    assert len({fact.told for fact in facts}) > 1_900
    assert len({fact.question for fact in facts}) > 1_500


@pytest.mark.parametrize("maker", [quiz, spread_recall])
def test_what_is_asked_was_told_before(maker):
    for seed in range(200):
        messages = maker(Source(Random(seed), room=512))
        for index, message in enumerate(messages):
            content = message["content"]
            if message["role"] == "assistant" and content.startswith("Your ") and " is called " in content:
                value = content.partition(" is called ")[2].rstrip(".")
                assert any(value in earlier["content"] for earlier in messages[:index])


@pytest.mark.parametrize("maker", [lookup, one_of_list])
def test_an_answer_stands_in_the_list(maker):
    for seed in range(500):
        messages = maker(Source(Random(seed)))
        assert all(message["content"] in messages[0]["content"] for message in messages[1::2])
