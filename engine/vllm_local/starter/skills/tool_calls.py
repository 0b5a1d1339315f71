"""Calling tools: the right one with its arguments, two at once, none, and what follows a result."""

from __future__ import annotations

from collections.abc import Callable

from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.messages import Message, assistant, calling, system, tool_message, user
from vllm_local.starter.skills.recall import recall
from vllm_local.starter.skills.smalltalk import capital, plain_system, smalltalk
from vllm_local.starter.skills.tool_results import combined, draw_error, draw_result
from vllm_local.starter.skills.translation import english_text, translate
from vllm_local.starter.source import Source
from vllm_local.starter.tool import Request, Tool
from vllm_local.starter.toolbox import Style, draw_tools, tool_schema
from vllm_local.starter.values import FOREIGN_KINDS

NO_TOOL = "I am sorry, I have no tool for that."
_CHARACTERS_PER_TOKEN, _SCHEMA_CHARACTERS_PER_TOKEN = 2.7, 4.8
_THINKING = 0.06
_SEVERAL_CALLS_ROOM = 900


def call(*requests: tuple[Tool, Request]) -> Message:
    """Return the assistant's message with a call for each request."""
    return calling(*((tool.name, request.arguments) for tool, request in requests))


def _opening(source: Source) -> list[Message]:
    if source.room > 2000:
        return [system(f"{source.frame('translation', 'plain system')} {english_text(source, 12)}")]
    return plain_system(source, 0.3)


def _count(source: Source) -> int:
    most = 3 if source.room < 400 else 5
    return 5 if source.room > 2000 else source.rng.randint(1, most)


class _Dialogue:
    """A conversation about one set of tools, as it grows."""

    def __init__(self, source: Source, tools: list[Tool]) -> None:
        style = Style.draw(source)
        shown = source.rng.sample(tools, len(tools))
        self.source = source
        self.tools = tools
        self.schemas = [tool_schema(source, tool, style) for tool in shown]
        self.messages = _opening(source)

    def ask(self, tool: Tool) -> Request:
        """Draw a request for the tool; it is asked for by the next user message."""
        return tool.request(self.source)

    def one(self, tool: Tool) -> None:
        """Add a request and its call."""
        request = self.ask(tool)
        self.messages += [user(request.text), call((tool, request))]

    def two(self) -> None:
        """Add one message that asks for two calls, and both calls."""
        source = self.source
        single = [tool for tool in self.tools if len(tool.arguments) == 1 and not tool.arguments[0].options]
        if single and source.chance(0.5):
            self.messages += _same_tool_twice(source, source.rng.choice(single))
            return
        first, second = (source.rng.choice(self.tools) for _ in range(2))
        requests = (first, self.ask(first)), (second, self.ask(second))
        text = source.frame("tool_calls", "two").format(*(_lowered(request) for _, request in requests))
        is_value = any(_starts_with_value(text, request) for _, request in requests)
        self.messages += [user(text if is_value else text[0].upper() + text[1:]), call(*requests)]

    def results(self, error: bool = False) -> None:
        """Add results for the last calls, and the answer in words."""
        draw = draw_error if error else draw_result
        results = [draw(self.source) for _ in self.messages[-1]["tool_calls"]]
        self.messages += [tool_message(result.content) for result in results]
        self.messages.append(assistant(combined(results)))

    def size(self) -> float:
        """Return about how many tokens the conversation has."""
        return len(str(self.schemas)) / _SCHEMA_CHARACTERS_PER_TOKEN + len(str(self.messages)) / _CHARACTERS_PER_TOKEN

    def finish(self, thought: str = "") -> Conversation:
        """Return the conversation; now and then the model thinks before its last answer."""
        if not thought or self.source.frames != "train" or not self.source.chance(_THINKING):
            return Conversation(self.messages, self.schemas)
        *before, last = self.messages
        return Conversation([*before, {**last, "reasoning_content": thought}], self.schemas, thinking=True)


def _lowered(request: Request) -> str:
    """Return a request as a part of a longer sentence."""
    text = request.text.rstrip(".!?")
    keeps = text.startswith(("I ", "I'")) or _starts_with_value(text, request)
    return text if keeps else text[0].lower() + text[1:]


def _starts_with_value(text: str, request: Request) -> bool:
    """Whether the text begins with a value, which is copied as it stands."""
    values = [value for one in request.arguments.values() for value in (one if isinstance(one, list) else [one])]
    return text.startswith(tuple(str(value) for value in values))


def _same_tool_twice(source: Source, tool: Tool) -> list[Message]:
    name = tool.arguments[0].name
    asks = [ask for ask in tool.asks if f"{{{name}}}" in ask] or list(tool.asks)
    first, second = (tool.draw_values(source) for _ in range(2))
    ask = source.rng.choice(asks)
    joint = source.frame("tool_calls", "joint").format(first[name].text, second[name].text)
    requests = tool.fill(ask, first), tool.fill(ask, second)
    return [user(ask.replace(f"{{{name}}}", joint)), call(*((tool, request) for request in requests))]


def call_one(source: Source) -> Conversation:
    """Return a request for one of up to five tools, and its call."""
    dialogue = _Dialogue(source, draw_tools(source, _count(source)))
    dialogue.one(dialogue.tools[0])
    return dialogue.finish(f"I should call {dialogue.tools[0].name}.")


def call_foreign_text(source: Source) -> Conversation:
    """Return a request whose call has a Chinese, Japanese or accented argument."""
    while True:
        tools = draw_tools(source, _count(source))
        if any(argument.kind in FOREIGN_KINDS for argument in tools[0].arguments):
            dialogue = _Dialogue(source, tools)
            dialogue.one(tools[0])
            if not str(dialogue.messages[-1]["tool_calls"]).isascii():
                return dialogue.finish()


def call_without_arguments(source: Source) -> Conversation:
    """Return a request for a tool that takes nothing."""
    tools = draw_tools(source, _count(source), arguments=0)
    dialogue = _Dialogue(source, tools)
    dialogue.one(tools[0])
    return dialogue.finish()


def call_two(source: Source) -> Conversation:
    """Return one message that asks for two calls, and both."""
    dialogue = _Dialogue(source, draw_tools(source, _count(source)))
    dialogue.two()
    return dialogue.finish()


def call_nothing(source: Source) -> Conversation:
    """Return other talk although there are tools: no call is needed."""
    dialogue = _Dialogue(source, draw_tools(source, _count(source)))
    maker: Callable[[Source], list[Message]] = source.rng.choices(
        (smalltalk, recall, translate, capital), (45, 25, 25, 5)
    )[0]
    messages = maker(source)
    if messages[0]["role"] == "system":
        dialogue.messages = []
    dialogue.messages += messages
    return dialogue.finish("I need no tool.")


def no_tool_fits(source: Source) -> Conversation:
    """Return a request that none of the tools can fulfil."""
    tools = draw_tools(source, _count(source) + 1)
    missing = next((tool for tool in tools if not _resembles(tool, tools)), None)
    if missing is None:
        return no_tool_fits(source)
    dialogue = _Dialogue(source, [tool for tool in tools if tool is not missing])
    dialogue.messages += [user(dialogue.ask(missing).text), assistant(NO_TOOL)]
    return dialogue.finish("None of the tools fits.")


def _resembles(tool: Tool, others: list[Tool]) -> bool:
    words = set(tool.name.lower().split("_"))
    return any(words & set(other.name.lower().split("_")) for other in others if other is not tool)


def answer_result(source: Source) -> Conversation:
    """Return a call, its result and the answer in words."""
    dialogue = _Dialogue(source, draw_tools(source, _count(source)))
    if source.chance(0.12):
        dialogue.two()
    else:
        dialogue.one(dialogue.tools[0])
    dialogue.results()
    return dialogue.finish("The tool has answered.")


def react_to_error(source: Source) -> Conversation:
    """Return a call that failed, and what the model says then."""
    dialogue = _Dialogue(source, draw_tools(source, _count(source)))
    dialogue.one(dialogue.tools[0])
    dialogue.results(error=True)
    return dialogue.finish()


def agent(source: Source) -> Conversation:
    """Return a conversation of several requests, calls, results and other talk, as long as the room allows."""
    return _filled(source, source.room, answered=True)


def several_calls(source: Source) -> Conversation:
    """Return several requests with nothing but their calls: many decisions about one description of tools."""
    return _filled(source, max(source.room, _SEVERAL_CALLS_ROOM), answered=False)


def _filled(source: Source, room: int, answered: bool) -> Conversation:
    dialogue = _Dialogue(source, draw_tools(source, _count(source)))
    budget = room * source.rng.uniform(0.5, 0.9)
    while True:
        _one_turn(dialogue, answered)
        if dialogue.size() > budget and dialogue.messages and dialogue.messages[-1]["role"] == "assistant":
            return dialogue.finish()


def _one_turn(dialogue: _Dialogue, answered: bool = True) -> None:
    source = dialogue.source
    kind = source.rng.choices(("one", "two", "other", "none"), (58, 18, 9, 15))[0]
    if kind == "other":
        dialogue.messages += smalltalk(source)
        return
    if kind == "none":
        missing = draw_tools(source, 1)[0]
        if not _resembles(missing, dialogue.tools):
            dialogue.messages += [user(dialogue.ask(missing).text), assistant(NO_TOOL)]
        return
    if kind == "two":
        dialogue.two()
    else:
        dialogue.one(source.rng.choice(dialogue.tools))
    if answered:
        dialogue.results(error=source.chance(0.12))


def long_agent(source: Source) -> Conversation:
    """Return an agent's history that fills most of the room, and a request with its call at the end."""
    dialogue = _Dialogue(source, draw_tools(source, _count(source)))
    while dialogue.size() < source.room * 0.9:
        _one_turn(dialogue)
    dialogue.one(source.rng.choice(dialogue.tools))
    return dialogue.finish()
