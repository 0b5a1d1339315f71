import hypothesis
import hypothesis.strategies as st

from vllm_local.tokenizer.stop_strings import StopStringMatcher

letters = st.text(alphabet="ab.", max_size=30)
stops = st.lists(st.text(alphabet="ab.", min_size=1, max_size=5), min_size=1, max_size=3)


def first_stop(text, stop_strings):
    """The slow way: after each character, is there a stop string?"""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stop_strings if text[:end].endswith(stop)]
        if found:
            stop = max(found, key=len)
            return end - len(stop), end, stop
    return None


@hypothesis.given(text=letters, stop_strings=stops)
def test_character_by_character_it_finds_what_a_plain_search_finds(text, stop_strings):
    matcher, shown = StopStringMatcher(stop_strings), ""
    for character in text:
        piece, stop = matcher.feed(character)
        shown += piece
        if stop is not None:
            break
    else:
        stop = None
    expected = first_stop(text, stop_strings)
    if expected is None:
        assert stop is None
        assert shown + matcher.release() == text
    else:
        assert (shown, stop) == (text[: expected[0]], expected[2])


@hypothesis.given(chunks=st.lists(letters, max_size=6), stop_strings=stops, include=st.booleans())
def test_nothing_of_a_stop_string_is_shown_early(chunks, stop_strings, include):
    matcher, shown, text = StopStringMatcher(stop_strings), "", ""
    for chunk in chunks:
        text += chunk
        piece, stop = matcher.feed(chunk, include_stop=include)
        shown += piece
        assert text.startswith(shown)
        starts = [start for start in map(text.find, stop_strings) if start >= 0]
        assert (stop is not None) == bool(starts)
        if stop is not None:
            assert shown == text[: min(starts) + (len(stop) if include else 0)]
            return
        held = len(text) - len(shown)
        longest = max((n for stop in stop_strings for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        assert held == longest
    assert shown + matcher.release() == text


def test_the_earliest_position_wins():
    assert StopStringMatcher(["d", "abcd"]).feed("xabcdx") == ("x", "abcd")
    assert StopStringMatcher(["\n\n", "\n"]).feed("x\n\ny") == ("x", "\n")


def test_a_stop_string_that_must_not_count_yet_is_shown():
    matcher = StopStringMatcher(["aba"])
    assert matcher.feed("xaba", may_stop=False) == ("xab", None)
    assert matcher.feed("ba") == ("", "aba")


def test_cost_is_linear_for_the_worst_stop_string():
    matcher = StopStringMatcher(["a" * 1000 + "b"])
    shown = "".join(matcher.feed("a")[0] for _ in range(20_000))
    assert len(shown) == 19_000
