from argparse import ArgumentTypeError

import pytest

from vllm_local.cli.flags import values


@pytest.mark.parametrize(
    ("text", "number"),
    [("8192", 8192), ("1k", 1000), ("1K", 1024), ("25.6k", 25600), ("2g", 2 * 10**9), ("2G", 2**31), ("-1", -1)],
)
def test_integers_have_suffixes(text, number):
    assert values.integer(text) == number


@pytest.mark.parametrize("text", ["", "k", "1.5", "1.5K", "many", "1kk"])
def test_other_texts_are_no_integers(text):
    with pytest.raises(ArgumentTypeError):
        values.integer(text)


@pytest.mark.parametrize(("text", "length"), [("auto", "auto"), ("-1", "auto"), ("AUTO", "auto"), ("4k", 4000)])
def test_a_length_may_be_automatic(text, length):
    assert values.integer_or_auto(text) == length


@pytest.mark.parametrize(("text", "name"), [("half", "float16"), ("float", "float32"), ("auto", "auto")])
def test_number_formats_have_other_names(text, name):
    assert values.dtype_name(text) == name


def test_numbers():
    assert values.number("0.5") == 0.5
    with pytest.raises(ArgumentTypeError, match="not a number"):
        values.number("half")


@pytest.mark.parametrize("text", ["", "None", "none"])
def test_nothing_has_a_spelling(text):
    assert values.optional_text(text) is None
    assert values.optional_text("awq") == "awq"


def test_json():
    assert values.json_object('{"a": 1}') == {"a": 1}
    assert values.json_texts('["a", "b"]') == ("a", "b")
    assert values.json_texts("*") == ("*",)
    assert values.key_value(" a = b=c") == ("a", "b=c")


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (values.json_object, "[1]"),
        (values.json_object, "{"),
        (values.json_texts, "[1]"),
        (values.key_value, "a"),
        (values.key_value, "=b"),
    ],
)
def test_wrong_json_is_refused(read, text):
    with pytest.raises(ArgumentTypeError):
        read(text)
