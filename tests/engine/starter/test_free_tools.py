"""Tools of any words, and what asks for them."""

from random import Random

from vllm_local.starter.free_tools import _with_bare, free_tool, words_like
from vllm_local.starter.source import Source
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
