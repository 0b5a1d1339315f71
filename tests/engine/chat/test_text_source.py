"""Text in pieces, read as if it were whole."""

from vllm_local.chat.deltas import ContentDelta
from vllm_local.chat.text_source import TextSource, first_of, held_back


def result(reader, source, pieces):
    """What a reader returns, given more whenever it waits."""
    pending = list(pieces)
    try:
        while True:
            assert next(reader) is None
            if pending:
                source.push(pending.pop(0))
            else:
                source.end()
    except StopIteration as stop:
        return stop.value, "".join([source.unread, *pending])


def test_waits_only_while_it_must():
    source = TextSource()
    assert result(source.follows("<a>"), source, ["<", "b"]) == (False, "<b")
    source = TextSource()
    assert result(source.accept("<b>", "<a>"), source, ["<", "a", ">", "x"]) == ("<a>", "x")
    source = TextSource()
    assert result(source.accept("<a>"), source, ["<a"]) == ("", "<a")
    source = TextSource()
    assert result(source.skip_whitespace(), source, [" ", "\n", "x "]) == (" \n", "x ")
    source = TextSource()
    assert result(source.peek(), source, []) == ("", "")
    source = TextSource()
    assert result(source.read_until("=", ";"), source, ["a", "b;", "="]) == ("ab", ";=")
    source = TextSource()
    assert result(source.read_until("=", limit=3), source, ["ab", "cd", "="]) == (None, "abcd=")
    source = TextSource()
    assert result(source.read_until("="), source, ["ab"]) == (None, "ab")


def test_takes_back_to_the_mark():
    source = TextSource()
    source.push("abc")
    source.take(1)
    source.mark()
    source.take(1)
    source.push("d")
    source.push("e")
    assert source.take(3) == "cde"
    source.take_back()
    assert source.unread == "bcde"
    source.take(2)
    source.push("f")
    assert source.unread == "def"


def test_streams_all_but_what_may_be_a_stop():
    source = TextSource()
    reader = source.stream_until(["</a>"], ContentDelta)
    shown: list[list[str]] = []
    for piece in ("x<", "/b", "y</", "a", ">z"):
        source.push(piece)
        shown.append([])
        for delta in reader:
            if delta is None:
                break
            assert isinstance(delta, ContentDelta)
            shown[-1].append(delta.text)
    assert shown == [["x"], ["</b"], ["y"], [], []]
    assert source.unread == "</a>z"


def test_drops_what_is_cut_off_only_at_the_end():
    source = TextSource()
    source.push("abc")
    source.drop_cut_off()
    assert source.unread == "abc"
    source.end()
    source.drop_cut_off()
    assert source.unread == ""


def test_first_of():
    assert first_of("a</b></c>", ["</c>", "</b>"]) == (1, "</b>")
    assert first_of("a", ["b"]) == (-1, "")


def test_held_back():
    assert held_back("x</", ["</b>", "<tool>"]) == 2
    assert held_back("x<t", ["</b>", "<tool>"]) == 2
    assert held_back("x", ["</b>"]) == 0
    assert held_back("x", []) == 0
