"""The tools of a request and how they may be called, checked; OpenAI's shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeAlias

from vllm_local.errors import InvalidRequestError

ToolChoiceMode: TypeAlias = Literal["none", "auto", "required"]

_NAME = re.compile(r"[^\s<>()\[\]{}\"'\\,;=|]{1,256}")
"""No format of calls marks its parts by anything that a name may hold."""
_MODES: Mapping[str, ToolChoiceMode] = {"none": "none", "auto": "auto", "required": "required", "any": "required"}
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}
_SAYS_NOTHING_OF_ARGUMENTS = {"type", "title", "description", "$schema"}


@dataclass(frozen=True)
class Tool:
    """A function that the model may call.

    Attributes:
        name: Unique among a request's tools.
        description: What it does.
        parameters: JSON schema of its arguments, an object's.
        definition: The tool as the request gave it, for chat templates.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    definition: Mapping[str, Any]

    @property
    def takes_arguments(self) -> bool:
        """Whether its schema knows of any; objects are closed where it says nothing of other properties."""
        return any(
            self.parameters.get(key) for key in set(self.parameters) - {"type", "title", "description", "$schema"}
        )


@dataclass(frozen=True)
class ToolChoice:
    """Whether tools are called.

    Attributes:
        mode: Not at all, as the model decides, or at least one call.
        names: Of the tools that may be called; None is all of them.
        is_named: One function was named: exactly one call, and OpenAI's finish reason for it is "stop".
    """

    mode: ToolChoiceMode
    names: tuple[str, ...] | None = None
    is_named: bool = False


@dataclass(frozen=True)
class ToolRequest:
    """All that a request says of tools.

    Attributes:
        tools: None of them if it names none.
        choice: Whether they are called.
        parallel: Whether one answer may call several.
    """

    tools: tuple[Tool, ...] = ()
    choice: ToolChoice = ToolChoice("none")
    parallel: bool = True

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """The tools that an answer may call."""
        if self.choice.mode == "none":
            return ()
        names = self.choice.names
        return tuple(tool for tool in self.tools if names is None or tool.name in names)

    @property
    def one_call_only(self) -> bool:
        """Whether an answer may hold no second call; that of a lone tool without arguments would repeat the first."""
        tools = self.callable_tools
        nothing_to_add = len(tools) == 1 and not tools[0].takes_arguments
        return self.choice.is_named or not self.parallel or nothing_to_add


def read_tool_request(
    tools: object = None, tool_choice: object = None, parallel_tool_calls: object = None
) -> ToolRequest:
    """Returns what a request says of tools.

    Args:
        tools: OpenAI's list of `{"type": "function", "function": {...}}`; None is no tools.
        tool_choice: "none", "auto", "required", `{"type": "function", "function": {"name": ...}}` or OpenAI's
            "allowed_tools"; "auto" by default if there are tools.
        parallel_tool_calls: Whether one answer may hold several calls; it may by default.

    Raises:
        InvalidRequestError: One of them is malformed or does not fit the others; `parameter` names it.
    """
    read = read_tools(tools)
    if parallel_tool_calls is not None and not isinstance(parallel_tool_calls, bool):
        _refuse("parallel_tool_calls", f"must be true or false, got {parallel_tool_calls!r}")
    return ToolRequest(read, read_tool_choice(tool_choice, read), parallel_tool_calls is not False)


def read_tools(tools: object) -> tuple[Tool, ...]:
    """Returns a request's tools; none for None.

    Raises:
        InvalidRequestError: They are malformed, or two have one name.
    """
    if tools is None:
        return ()
    if isinstance(tools, (str, bytes, Mapping)) or not isinstance(tools, Sequence):
        _refuse("tools", f"must be a list of tools, got {type(tools).__name__}")
    if not tools:
        _refuse("tools", "must not be an empty array; leave it out to offer no tools")
    read = tuple(_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools))
    names = [tool.name for tool in read]
    for index, name in enumerate(names):
        if name in names[:index]:
            _refuse(f"tools[{index}].function.name", f"is {name!r}, as that of tools[{names.index(name)}]")
    return read


def read_tool_choice(choice: object, tools: Sequence[Tool]) -> ToolChoice:
    """Returns how a request's tools may be called.

    Raises:
        InvalidRequestError: It is malformed, or names a tool that there is not.
    """
    if choice is None:
        return ToolChoice("auto" if tools else "none")
    if isinstance(choice, str) and choice in _MODES:
        mode = _MODES[choice]
        if mode == "required" and not tools:
            _refuse("tool_choice", f"is {choice!r}, but the request has no tools; set `tools` as well")
        return ToolChoice(mode if tools else "none")
    if not isinstance(choice, Mapping):
        shapes = '"none", "auto", "required" or {"type": "function", "function": {"name": ...}}'
        _refuse("tool_choice", f"is {_shown(choice)}; use {shapes}")
    if not tools:
        _refuse("tool_choice", "is set, but the request has no tools; set `tools` as well")
    if choice.get("type") == "allowed_tools":
        return _read_allowed_tools(choice, tools)
    return ToolChoice("required", (_read_named_tool(choice, "tool_choice", tools),), is_named=True)


def _read_tool(tool: object, where: str) -> Tool:
    if not isinstance(tool, Mapping):
        _refuse(where, f"must be a dict with a type and a function, got {type(tool).__name__}")
    if tool.get("type", "function") != "function":
        _refuse(f"{where}.type", f"is {_shown(tool['type'])}; only tools of the type 'function' can be called")
    function = tool.get("function")
    if not isinstance(function, Mapping):
        _refuse(f"{where}.function", "must be a dict with the function's name and parameters")
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        rule = "must be a text of 1 to 256 characters without blanks, quotes, brackets or any of , ; = | \\"
        _refuse(f"{where}.function.name", f"{rule}, got {_shown(name)}")
    description = function.get("description")
    if description is not None and not isinstance(description, str):
        _refuse(f"{where}.function.description", f"must be a text, got {type(description).__name__}")
    parameters = _read_parameters(function.get("parameters"), f"{where}.function.parameters")
    return Tool(name, description or "", parameters, tool)


def _read_parameters(parameters: object, where: str) -> Mapping[str, Any]:
    """Returns the schema of an object."""
    if parameters is None or parameters == {}:
        return _NO_PARAMETERS
    if not isinstance(parameters, Mapping):
        _refuse(where, f"must be a JSON schema of an object, got {type(parameters).__name__}")
    if parameters.get("type", "object") != "object":
        _refuse(f"{where}.type", f"must be 'object', got {_shown(parameters['type'])}")
    properties = parameters.get("properties", {})
    if not isinstance(properties, Mapping) or not all(isinstance(name, str) for name in properties):
        _refuse(f"{where}.properties", "must be a dict of JSON schemas by name")
    return parameters if "type" in parameters else {"type": "object", **parameters}


def _read_allowed_tools(choice: Mapping[str, Any], tools: Sequence[Tool]) -> ToolChoice:
    # Chat completions nest it; the newer API does not.
    allowed = choice.get("allowed_tools", choice)
    if not isinstance(allowed, Mapping) or allowed.get("mode") not in {"auto", "required"}:
        _refuse("tool_choice.allowed_tools.mode", "must be 'auto' or 'required'")
    listed = allowed.get("tools")
    if not isinstance(listed, (list, tuple)) or not listed:
        _refuse("tool_choice.allowed_tools.tools", "must be a list of tools that is not empty")
    where = "tool_choice.allowed_tools.tools"
    names = [_read_named_tool(tool, f"{where}[{index}]", tools) for index, tool in enumerate(listed)]
    return ToolChoice(allowed["mode"], tuple(dict.fromkeys(names)))


def _read_named_tool(choice: object, where: str, tools: Sequence[Tool]) -> str:
    function = choice.get("function", choice) if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(choice, Mapping) or choice.get("type", "function") != "function" or not isinstance(name, str):
        _refuse(where, f'must be {{"type": "function", "function": {{"name": ...}}}}, got {_shown(choice)}')
    if all(tool.name != name for tool in tools):
        known = ", ".join(tool.name for tool in tools)
        _refuse(where, f"names the tool {name!r}, which does not match any of the specified `tools` ({known})")
    return name


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


def _refuse(where: str, problem: str) -> NoReturn:
    # The parameter is a request's field; the message says where in it.
    raise InvalidRequestError(f"{where} {problem}.", parameter=re.split(r"[.\[]", where)[0])
