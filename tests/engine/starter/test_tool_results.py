import re
from random import Random

import pytest

from vllm_local.starter.skills.result_answer import result_answer
from vllm_local.starter.skills.tool_results import Result, combined, draw_error, draw_result
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks
from vllm_local.starter.values import value_kinds

HELD_OUT_HEADINGS = ["sentence", "key", "list_key", "error", "exception", "http"]
SORRY = "I am sorry, the tool failed: "


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("It is cloudy in Vark.", "It is cloudy in Vark."),
        ("Sunny, 21 degrees", "Sunny, 21 degrees."),
        ("Saved. See 北京", "Saved. See 北京."),
        ("Done!", "Done!"),
        ("a, b, c", "a, b, c."),
    ],
)
def test_a_sentence_is_repeated(content, answer):
    assert result_answer(content) == answer


@pytest.mark.parametrize("text", ["42", "3.5", "-7", "QX-482", "true", "Anna", "2031-04-05", "bo@x.org", "北京"])
def test_a_bare_value_is_the_result(text):
    assert result_answer(text) == f"The result is {text}."


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ('{"temperature": 21, "sky": "cloudy"}', "The temperature is 21 and the sky is cloudy."),
        ('{"temperature":21,"sky":"cloudy"}', "The temperature is 21 and the sky is cloudy."),
        ('{\n  "temperature": 21,\n  "sky": "cloudy"\n}', "The temperature is 21 and the sky is cloudy."),
        ('{"result": 42}', "The result is 42."),
        ('{"wind_speed": 12.50}', "The wind speed is 12.50."),
        ('{"open": true, "paid": false, "seat": null}', "The open is yes, the paid is no and the seat is unknown."),
        ('{"names": ["Anna", "Bo", "Li"]}', "The names are Anna, Bo and Li."),
        ('{"status": "ok", "address": "1 Low Road."}', "The status is ok and the address is 1 Low Road."),
        ('{"weather": {"sky": "clear", "wind": 3}}', "The sky is clear and the wind is 3."),
        (
            '[{"name": "Bo", "age": 3}, {"name": "Li", "age": 4}]',
            "The name is Bo and the age is 3. The name is Li and the age is 4.",
        ),
        ('"Anna"', "The result is Anna."),
        ('{"error": null, "sum": 4}', "The error is unknown and the sum is 4."),
    ],
)
def test_an_object_is_told_field_by_field(content, answer):
    assert result_answer(content) == answer


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ('["a", "b", "c"]', "The results are a, b and c."),
        ("[1, 2.5]", "The results are 1 and 2.5."),
        ('["東京"]', "The result is 東京."),
        ("red\ngreen\nblue\n", "The results are red, green and blue."),
        ("- Bo Ri\n- Li", "The results are Bo Ri and Li."),
    ],
)
def test_a_list_is_told_as_results(content, answer):
    assert result_answer(content) == answer


@pytest.mark.parametrize(
    "content", ["", " \n", "null", "None", "[]", "{}", '""', '{"result": null}', '{"results": []}']
)
def test_nothing_is_no_result(content):
    assert result_answer(content) == "There is no result."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Error: Missing argument 'x'.", "Missing argument 'x'."),
        ("Error: Missing argument 'x'", "Missing argument 'x'."),
        ("ERROR: timeout", "timeout."),
        ("Tool error: timeout", "timeout."),
        ("Request failed: no route", "no route."),
        ("ValueError: bad date", "ValueError: bad date."),
        ("Error: ValueError: bad date", "ValueError: bad date."),
        ("404 Not Found", "404 Not Found."),
        ("Error invoking tool 'f' with error: bad date. Please fix the error and try again.", "bad date."),
        (
            "Error invoking tool 'f' with kwargs {'a': 1} with error:\n bad date\n Please fix the error and try again.",
            "bad date.",
        ),
        ("Error: bad date\n Please fix your mistakes.", "bad date."),
        ('{"error": "timeout"}', "timeout."),
        ('{"error": {"message": "timeout"}}', "timeout."),
        ('{"status": "error", "message": "timeout"}', "timeout."),
    ],
)
def test_an_error_is_told_with_an_apology(content, message):
    assert result_answer(content) == SORRY + message


def test_text_that_only_looks_like_json_is_repeated():
    assert result_answer("[draft] A letter to Bo") == "[draft] A letter to Bo."


def test_several_answers_are_joined():
    assert combined([Result("1", "The result is 1."), Result("Saved", "Saved.")]) == "The result is 1. Saved."


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_drawn_results_are_short_and_answered_by_the_conventions(split):
    results = [draw_result(Source(Random(seed), frames=split, values=split)) for seed in range(1_500)]
    assert all(result.answer == result_answer(result.content) for result in results)
    assert all(result.answer[-1] in ".!?。" and "{" not in result.answer for result in results)
    assert max(len(result.content) for result in results) < 500
    assert not any(result.answer.startswith(SORRY) for result in results)
    errors = [draw_error(Source(Random(seed), frames=split, values=split)) for seed in range(300)]
    assert all(error.answer.startswith(SORRY) for error in errors)


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_the_kinds_of_the_lists_exist(split):
    blocks = read_blocks(f"{split}/tool_results.txt")
    named = {
        kind for heading in ("sentence", "error") for line in blocks[heading] for kind in re.findall(r"{(\w+)}", line)
    }
    keyed = {kind for heading in ("key", "list_key") for line in blocks[heading] for kind in line.split("|")[1].split()}
    assert named | keyed <= {*value_kinds(), "flag"}


@pytest.mark.parametrize("heading", HELD_OUT_HEADINGS)
def test_the_lists_of_training_and_evaluation_are_disjoint(heading):
    train, held_out = (
        {line.split("|")[0].strip().lower() for line in read_blocks(f"{split}/tool_results.txt")[heading]}
        for split in ("train", "heldout")
    )
    assert held_out
    assert not train & held_out
