"""Tools as they are drawn, and what asks for them."""

import re
from random import Random

from vllm_local.starter.source import Source
from vllm_local.starter.toolbox import made_up_tool


def test_any_word_may_link_the_arguments_of_a_made_up_tool_to_their_values() -> None:
    links = set()
    source = Source(Random(1))
    for _ in range(2_000):
        tool = made_up_tool(source)
        if len(tool.arguments) == 2:
            first, second = (argument.name for argument in tool.arguments)
            found = re.search(rf"{first} (\w+) {{{first}}}(?:, | and ){second} (\w+) {{{second}}}", tool.asks[0])
            if found:
                assert found[1] == found[2]
                links.add(found[1])

    assert len(links) > 30


def test_a_request_of_evaluation_has_its_own_ways_to_say_them() -> None:
    source = Source(Random(1), frames="heldout", values="heldout")
    pairs = [tool for tool in (made_up_tool(source) for _ in range(200)) if len(tool.arguments) > 1]

    assert pairs
    assert all("being {" in ask or "equal to {" in ask for tool in pairs for ask in tool.asks)
