"""Arguments of tools, as a request says them and as the call has them."""

from random import Random

import pytest

from vllm_local.starter.source import Source
from vllm_local.starter.tool import Argument


def drawn(kind: str, values: str) -> list[tuple[str, str]]:
    source = Source(Random(0), values=values)
    made = [Argument("customer", "string", kind, "", required=True).draw(source) for _ in range(200)]
    return [(value.text, value.json) for value in made]


@pytest.mark.parametrize("kind", ["chinese", "japanese", "accented"])
def test_some_foreign_values_have_their_meaning_behind_them_which_is_not_copied(kind: str) -> None:
    explained = [(text, copied) for text, copied in drawn(kind, "train") if text != copied]

    assert 20 < len(explained) < 60
    for text, copied in explained:
        before, _, meaning = text.partition(" (")
        assert before.strip("'\"") == copied
        assert meaning.isascii()
        assert meaning.endswith(")")


@pytest.mark.parametrize(("kind", "values"), [("chinese", "heldout"), ("title", "train"), ("email", "train")])
def test_other_values_are_said_as_they_are(kind: str, values: str) -> None:
    assert all(text == copied for text, copied in drawn(kind, values))
