"""Copy drills, from which the ability to repeat and to recall grows, and answers from a tool's result."""

import json

from vllm_local.starter.skills.messages import Message, assistant, exchange, user
from vllm_local.starter.source import Source

_ALPHABETS = "äöüßéèêçñáíóúàìòù 你好世界東京日本中文学生こんにちはありがとう€😀"
_REPEAT = {
    "train": (
        "Repeat: {0}",
        "Repeat: {0}",
        "Repeat after me: {0}",
        "Please repeat: {0}",
        'Say "{0}".',
        "Say: {0}",
        "Copy this: {0}",
        "Write: {0}",
    ),
    "heldout": ("Repeat the following words: {0}", "Please say this again: {0}"),
}
_TOOLS = ("search", "lookup", "get_info", "read_file", "query", "check_status", "find_item")
_TOOL_QUESTIONS = ("Please look it up.", "Use the tool.", "Check it for me.", "What does the tool say?")


def _token(source: Source) -> str:
    kind = source.rng.random()
    if kind < 0.45:
        return source.made_up_word()
    if kind < 0.6:
        return source.name()
    if kind < 0.8:
        return str(source.number())
    if kind < 0.9:
        return f"{source.made_up_word().capitalize()} {source.name()}"
    if kind < 0.96:
        return source.code()
    return "".join(source.rng.choice(_ALPHABETS) for _ in range(source.rng.randint(2, 6))).strip() or "é"


def drill(source: Source) -> list[Message]:
    """Return a list of random words to repeat."""
    separator = source.rng.choice((" | ", " | ", " ", ", "))
    words = separator.join(_token(source) for _ in range(source.rng.randint(1, 5)))
    return exchange(source.rng.choice(_REPEAT[source.frames]).format(words), words)


def last_of_list(source: Source) -> list[Message]:
    """Return a list of keys with values, and the question for one of them."""
    pairs = {source.made_up_word(): _token(source) for _ in range(source.rng.randint(2, 5))}
    key = source.rng.choice(list(pairs))
    listing = "; ".join(f"{name}: {value}" for name, value in pairs.items())
    return exchange(f"{listing}. What is {key}?", pairs[key])


def tool_result(source: Source) -> list[Message]:
    """Return a conversation in which a tool has answered; the model repeats the result."""
    name, key = source.rng.choice(_TOOLS), source.made_up_word()
    result = source.rng.choice((_token(source), f"{_token(source)} {_token(source)}"))
    call = {"function": {"name": name, "arguments": {"query": key}}}
    content = json.dumps({"result": result}, ensure_ascii=False) if source.chance(0.2) else result
    return [
        user(f"{source.made_up_word().capitalize()} {key}? {source.rng.choice(_TOOL_QUESTIONS)}"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": content},
        assistant(f"The result is: {result}"),
    ]
