import io

import pytest
from rich.console import Console

from vllm_local.cli.answer_markdown import AnswerMarkdown


def shown(text):
    output = io.StringIO()
    Console(file=output, width=60).print(AnswerMarkdown(text))
    return [line.rstrip() for line in output.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("<think>\nHm.\n</think>\n\nYes.", ["<think>", "Hm.", "</think>", "", "Yes."]),
        ("a <b>c</b> & d < e", ["a <b>c</b> & d < e"]),
        ("Roses are red,\nviolets are blue.", ["Roses are red,", "violets are blue."]),
        ("*a* **b** ~~c~~ `d`", ["a b c d"]),
        ("- a\n- b", ["", " • a", " • b"]),
    ],
)
def test_nothing_of_an_answer_is_left_out(text, lines):
    assert shown(text) == lines


def test_tables_are_drawn():
    text = "\n".join(shown("| a | b |\n|---|---|\n| 1 | 2 |"))
    assert "|" not in text
    assert all(cell in text for cell in "ab12")
