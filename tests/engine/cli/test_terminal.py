import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from vllm_local.cli.answers import Piece
from vllm_local.cli.terminal import Answer, show_answer, split_blocks

MARKDOWN = "# Title\n\nSome *text*.\n\n```python\na = 1\n\nb = 2\n```\n\n- one\n- two\n"


def console(*, is_terminal=True, height=40):
    return Console(file=io.StringIO(), force_terminal=is_terminal, width=40, height=height, highlight=False)


def pieces(*texts, counts=(), closed=None, interrupt_after=None):
    try:
        for index, text in enumerate(texts):
            if index == interrupt_after:
                raise KeyboardInterrupt
            yield Piece(text, counts[index] if counts else None)
    finally:
        if closed is not None:
            closed.append(True)


def test_text_is_written_as_it_comes():
    screen = console(is_terminal=False)
    answer = show_answer(screen, pieces("*a*", " [b]", counts=(1, 2)), as_markdown=True)
    assert screen.file.getvalue() == "*a* [b]\n"
    assert (answer.text, answer.num_tokens, answer.is_interrupted) == ("*a* [b]", 2, False)
    assert answer.seconds_to_first is not None


def test_markdown_is_rendered_whole():
    screen = console()
    answer = show_answer(screen, pieces(*MARKDOWN), as_markdown=True)
    assert answer.text == MARKDOWN
    plain = Text.from_ansi(screen.file.getvalue()).plain
    assert all(part in plain for part in ("Title", "Some text.", "a = 1", "b = 2", " • two"))


def test_an_answer_higher_than_the_screen_stays_whole():
    screen = console(height=5)
    text = "\n".join(f"line{i}  " for i in range(30))
    show_answer(screen, pieces(*text.splitlines(keepends=True)), as_markdown=True)
    end = screen.file.getvalue()[-2000:]
    assert all(f"line{i}" in end for i in range(30))


@pytest.mark.parametrize("as_markdown", [False, True])
def test_ctrl_c_ends_the_answer_only(as_markdown):
    closed: list[bool] = []
    stream = pieces("one ", "two", closed=closed, interrupt_after=1)
    answer = show_answer(console(), stream, as_markdown=as_markdown)
    assert (answer.text, answer.is_interrupted, closed) == ("one ", True, [True])


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("one", ""),
        ("one\n\ntwo", "one\n\n"),
        ("one\n\ntwo\n\nthree", "one\n\ntwo\n\n"),
        ("one\n\n```\na\n\nb", "one\n\n"),
        ("```\na\n\nb\n```\n\nc", "```\na\n\nb\n```\n\n"),
        ("~~~\n```\n\nb", ""),
    ],
)
def test_blocks_end_at_blank_lines_outside_code(text, done):
    assert split_blocks(text) == (done, text.removeprefix(done))


@given(st.lists(st.sampled_from(["a", "\n", "\n\n", "```", "~~~", " ", "- b"]), max_size=30))
def test_splitting_loses_nothing(parts):
    text = "".join(parts)
    assert "".join(split_blocks(text)) == text


def test_statistics_read_as_vllms():
    assert Answer().statistics() == "TTFT: no text"
    answer = Answer(text="x", num_tokens=10, seconds_to_first=0.05, seconds=2.0)
    assert answer.statistics() == "TTFT: 50.00 ms\nTPS:  5.00 tokens/s (10 tokens in 2.00s)"
    assert Answer(text="x", seconds_to_first=0.05).statistics() == "TTFT: 50.00 ms"
