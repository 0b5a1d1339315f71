import pytest

from vllm_local.errors import InvalidRequestError
from vllm_local.structured_output.regex_size import MAX_REGEX_SIZE, check_regex_size, regex_size


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("", 0),
        (r"\d{4}-(ab){1,3}", 11),
        ("(a{1000}){1000}", 1_000_000),
        ("(?:ab|cd){3}", 12),
        ("(?P<name>x){4}y", 5),
        ("(?i)abc", 3),
        ("a{2}{3}", 6),
        ("a{3,}b*c?", 5),
        ("[a-z{3}]{5}", 5),
        ("[]{2}]{3}x", 4),
        ("[^]a]{2}", 2),
        ("[[:alpha:]]{7}", 7),
        (r"\p{Lu}{3}\{4\}", 6),
        ("((((", 0),
        ("a)))", 4),
        ("[abc", 1),
        ("\\", 1),
    ],
)
def test_repetitions_are_written_out(pattern, size):
    assert regex_size(pattern) == size


def test_what_would_take_seconds_is_refused():
    check_regex_size(f"a{{{MAX_REGEX_SIZE}}}", "regex", "structured_outputs.regex")
    with pytest.raises(InvalidRequestError, match="regex is a pattern of 1000000 characters") as caught:
        check_regex_size("(a{1000}){1000}", "regex", "structured_outputs.regex")
    assert caught.value.parameter == "structured_outputs.regex"
