"""Tools of any words, and what asks for them."""

import re
from random import Random

import pytest

from vllm_local.starter.free_tools import _with_bare, free_slot, free_tool, settle_edges, words_like
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks
from vllm_local.starter.tool import Argument, Slot, Tool


def _tool(*asks: str) -> Tool:
    return Tool("lift_crate", "", (), asks, words=("lift", "crate"))


def test_what_a_tool_does_not_share_with_another_is_said_whenever_that_one_is_asked_for() -> None:
    source = Source(Random(1))
    assert words_like(source, _tool("Lift it.", "You lift."), "push", "bell") == ("push", "crate")
    assert words_like(source, _tool("The crate.", "A crate!"), "push", "bell") == ("lift", "bell")
    assert words_like(source, _tool("Lift it.", "A crate!"), "push", "bell") == ("push", "bell")
    both = {words_like(source, _tool("Lift a crate."), "push", "bell") for _ in range(50)}
    assert both == {("push", "crate"), ("lift", "bell")}


def test_a_value_may_stand_beside_the_verb_with_nothing_that_says_what_it_is() -> None:
    source, found = Source(Random(2)), 0
    for _ in range(1_000):
        tool = free_tool(source, arguments=2)
        for ask in tool.asks:
            for argument in tool.arguments:
                found += f"{tool.words[0]} {{{argument.name}}}" in ask
    assert found > 30


def test_of_several_strings_one_that_must_be_given_is_known_by_the_others_alone() -> None:
    source, bare = Source(Random(3)), []
    for _ in range(500):
        slots = {
            name: Slot(Argument(name, "string", "name", "", name != "optional"), (f"the {name} {{value}}",))
            for name in ("first", "second", "optional")
        }
        bare.append([name for name, slot in _with_bare(source, slots).items() if slot.is_bare])
    assert {len(names) for names in bare} == {0, 1}
    assert {name for names in bare for name in names} == {"first", "second"}


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("add ‖{name}‖", {"add, {name}"}),
        ("‖{name}‖; add it", {"{name}; add it"}),
        ("called {name}‖ the size is {size}", {"called {name}, the size is {size}"}),
        ("called {name}‖ with {size}", {"called {name} with {size}", "called {name}, with {size}"}),
        ("called {name}‖ today", {"called {name} today", "called {name}, today"}),
        ("called {name}‖ toddlers", {"called {name}, toddlers"}),
    ],
)
def test_a_mark_or_a_word_shows_where_a_value_of_small_letters_ends(text: str, settled: set[str]) -> None:
    source = Source(Random(1))
    assert {settle_edges(source, text) for _ in range(50)} == settled


def test_any_word_may_stand_before_a_value_that_nothing_else_looks_like() -> None:
    source, found = Source(Random(1)), {"email": set[str](), "title": set[str]()}
    listed = set(re.findall(r"\w+", " ".join(read_blocks("train/free_tools.txt")["cues"])))
    for _ in range(4_000):
        slot = free_slot(source, "lift", "crate")
        said = set(re.findall(r"[a-z]+", f"{slot.argument.name} {slot.argument.description}".lower()))
        if slot.argument.kind in found:
            before = {word for phrase in slot.phrases for word in re.findall(r"(\w+) {value}", phrase)}
            found[slot.argument.kind] |= before - listed - said
    assert len(found["email"]) > 10
    assert not found["title"]
