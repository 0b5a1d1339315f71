"""What a request may say of tools, and what is wrong with what it may not."""

import pytest

from tests.engine.chat.answers import TOOLS, tool
from vllm_local.chat.tools import ToolChoice, read_tool_request
from vllm_local.errors import InvalidRequestError

NAMED = {"type": "function", "function": {"name": "now"}}


def test_tools_in_openai_s_shape():
    request = read_tool_request([{**tool("f"), "strict": True}, tool("g", {"properties": {"a": {}}})])
    first, second = request.tools
    assert (first.name, first.description, first.parameters) == ("f", "Does f.", {"type": "object", "properties": {}})
    assert second.parameters == {"type": "object", "properties": {"a": {}}}
    assert first.definition["strict"] is True
    assert request.choice == ToolChoice("auto")
    assert request.parallel
    assert not request.one_call_only


def test_no_tools():
    for request in (read_tool_request(), read_tool_request(None, "none"), read_tool_request(None, "auto")):
        assert request.tools == request.callable_tools == ()
        assert request.choice == ToolChoice("none")


def allowed(mode, *names):
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [tool(name) for name in names]}}


@pytest.mark.parametrize(
    ("choice", "read", "names"),
    [
        (None, ToolChoice("auto"), ["get_weather", "now"]),
        ("none", ToolChoice("none"), []),
        ("auto", ToolChoice("auto"), ["get_weather", "now"]),
        ("required", ToolChoice("required"), ["get_weather", "now"]),
        ("any", ToolChoice("required"), ["get_weather", "now"]),
        (NAMED, ToolChoice("required", ("now",), is_named=True), ["now"]),
        ({"type": "function", "name": "now"}, ToolChoice("required", ("now",), is_named=True), ["now"]),
        (allowed("auto", "now"), ToolChoice("auto", ("now",)), ["now"]),
        (allowed("required", "now", "now"), ToolChoice("required", ("now",)), ["now"]),
        ({"type": "allowed_tools", "mode": "auto", "tools": [NAMED]}, ToolChoice("auto", ("now",)), ["now"]),
    ],
)
def test_choices(choice, read, names):
    request = read_tool_request(TOOLS, choice)
    assert request.choice == read
    assert [tool.name for tool in request.callable_tools] == names


def test_how_many_calls():
    assert read_tool_request(TOOLS, "auto", False).one_call_only
    assert not read_tool_request(TOOLS, "auto", True).one_call_only
    assert read_tool_request(TOOLS, NAMED, True).one_call_only


@pytest.mark.parametrize(
    ("schema", "one_only"),
    [
        ({}, True),
        ({"type": "object", "properties": {}, "required": [], "additionalProperties": False}, True),
        ({"type": "object", "additionalProperties": True}, False),
        ({"type": "object", "properties": {"a": {}}}, False),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"a": {}}}}}, False),
    ],
)
def test_a_lone_tool_without_arguments_is_called_once(schema, one_only):
    assert read_tool_request([tool("f", schema)], "required").one_call_only == one_only
    assert not read_tool_request([tool("f", schema), tool("g", schema)], "required").one_call_only


@pytest.mark.parametrize(
    ("request_", "parameter", "message"),
    [
        (({"a": 1},), "tools", "tools must be a list of tools, got dict"),
        (("f",), "tools", "tools must be a list of tools, got str"),
        (([],), "tools", "tools must not be an empty array"),
        ((["f"],), "tools", r"tools\[0\] must be a dict"),
        (([{"type": "web_search"}],), "tools", r"tools\[0\].type is 'web_search'"),
        (([{"type": "function"}],), "tools", r"tools\[0\].function must be a dict"),
        (([tool("f"), tool("")],), "tools", r"tools\[1\].function.name must be a text .* got ''"),
        (([tool("a b")],), "tools", r"tools\[0\].function.name .* got 'a b'"),
        (([tool("<f>")],), "tools", r"tools\[0\].function.name"),
        (([tool(7)],), "tools", r"tools\[0\].function.name .* got 7"),
        (([tool("f"), tool("f")],), "tools", r"tools\[1\].function.name is 'f', as that of tools\[0\]"),
        (([tool("f", "x")],), "tools", r"tools\[0\].function.parameters must be a JSON schema of an object, got str"),
        (([tool("f", {"type": "array"})],), "tools", r"tools\[0\].function.parameters.type must be 'object'"),
        (([tool("f", {"properties": []})],), "tools", r"tools\[0\].function.parameters.properties must be a dict"),
        (
            ([{"type": "function", "function": {"name": "f", "description": 7}}],),
            "tools",
            r"tools\[0\].function.description must be a text",
        ),
        ((TOOLS, "banana"), "tool_choice", "tool_choice is 'banana'; use"),
        ((TOOLS, 7), "tool_choice", "tool_choice is 7; use"),
        ((None, "required"), "tool_choice", "has no tools; set `tools` as well"),
        ((None, NAMED), "tool_choice", "has no tools; set `tools` as well"),
        ((TOOLS, {"type": "function"}), "tool_choice", "tool_choice must be"),
        (
            (TOOLS, {"type": "function", "function": {"name": "nope"}}),
            "tool_choice",
            r"'nope', which does not match any of the specified `tools` \(get_weather, now\)",
        ),
        ((TOOLS, {"type": "allowed_tools", "mode": "none"}), "tool_choice", "allowed_tools.mode must be"),
        ((TOOLS, {"type": "allowed_tools", "mode": "auto", "tools": []}), "tool_choice", "allowed_tools.tools must"),
        ((TOOLS, allowed("auto", "now", "nope")), "tool_choice", r"allowed_tools.tools\[1\] names the tool 'nope'"),
        ((TOOLS, "auto", "yes"), "parallel_tool_calls", "must be true or false, got 'yes'"),
    ],
)
def test_what_is_wrong(request_, parameter, message):
    with pytest.raises(InvalidRequestError, match=message) as caught:
        read_tool_request(*request_)
    assert caught.value.parameter == parameter
