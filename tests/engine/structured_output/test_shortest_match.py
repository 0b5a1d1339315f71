import re

import pytest

from vllm_local.structured_output.shortest_match import shortest_match


@pytest.mark.parametrize(
    ("pattern", "length"),
    [
        ("", 0),
        ("abc", 3),
        (r"^(foo|x)-[a-f]{3,}\d*$", 5),
        (r"(?:ab|cd){2,4}?", 4),
        (r"(?P<year>\d{4})-\d{2}", 7),
        (r"[^a-z0]+@\w+\.(com|org)", 7),
        (r"\x41\u0042[\d_][\-\]]", 4),
        ("a+?b??(c|)", 1),
        (r"[[:alpha:]]\s\S\D\W", 5),
        ("a{2}{3}", 6),
        (".{5}", 5),
    ],
)
def test_a_short_text_is_found_that_matches(pattern, length):
    match = shortest_match(pattern)
    assert match is not None
    assert len(match) == length
    in_python = pattern.replace("[[:alpha:]]", "[a-zA-Z]").replace("a{2}{3}", "(?:a{2}){3}")
    assert re.fullmatch(in_python, match)


@pytest.mark.parametrize(
    "pattern", ["((", "[a", "\\", "(a", "a)", "(a{1000}){1000}", "(" * 300, r"\x{110000}", "[]", r"\u{zz}"]
)
def test_what_is_malformed_or_too_long_has_none(pattern):
    assert shortest_match(pattern) is None


def test_a_property_of_characters_is_guessed():
    assert shortest_match(r"\p{Lu}{2}\pL") == "aaa"
