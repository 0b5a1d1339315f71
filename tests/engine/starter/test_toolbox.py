"""Tools as they are drawn, and what asks for them."""

import re
from random import Random

from vllm_local.starter.source import Source
from vllm_local.starter.tool import Argument, Tool
from vllm_local.starter.toolbox import _with_shared, catalogue, draw_tools, made_up_tool


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


def _tool(name: str, *arguments: Argument) -> Tool:
    return Tool(name, "", arguments, ("Do it.",))


def _argument(name: str, kind: str, required: bool = True) -> Argument:
    types = {"small": "integer", "amount": "number"}
    return Argument(name, types.get(kind, "string"), kind, "", required)


def test_a_tool_may_have_an_argument_of_another_one_that_no_request_mentions() -> None:
    source = Source(Random(1))
    tool, other = _tool("sell", _argument("city", "place")), _tool("buy", _argument("mail", "email"))

    drawn = [_with_shared(source, tool, [tool, other]) for _ in range(100)]

    shared = {argument for one in drawn for argument in one.arguments} - set(tool.arguments)
    assert shared == {_argument("mail", "email", required=False)}
    assert 20 < sum(len(one.arguments) == 2 for one in drawn) < 60
    assert all(one.asks == tool.asks for one in drawn)


def test_no_argument_is_shared_that_a_value_could_be_meant_for() -> None:
    source = Source(Random(1))
    pairs = [
        (_tool("sell", _argument("city", "place")), _argument("town", "place")),
        (_tool("sell", _argument("city", "place", required=False)), _argument("mail", "email")),
        (_tool("sell", _argument("count", "small", required=False)), _argument("price", "amount")),
        (_tool("sell", _argument("city", "place")), _argument("city", "email")),
        (_tool("sell"), _argument("mail", "email")),
    ]
    for tool, argument in pairs:
        for _ in range(20):
            assert _with_shared(source, tool, [tool, _tool("buy", argument)]) is tool


def test_tools_of_evaluation_share_nothing() -> None:
    source = Source(Random(1), frames="heldout", values="heldout")
    listed = {tool.name: tool for tool in catalogue("heldout")}
    drawn = [tool for _ in range(100) for tool in draw_tools(source, 4) if tool.name in listed]
    assert drawn
    assert all(tool == listed[tool.name] for tool in drawn)
