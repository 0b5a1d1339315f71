"""The formats' constraints as the engine compiles them: they take what models write, token by token, and no more."""

import pytest

from tests.engine.chat.answers import ask, tool
from tests.engine.chat.tool_formats.test_tool_formats import SCHEMA, WRITERS
from vllm_local.chat.answer_constraint import constrain_answer
from vllm_local.chat.reasoning_formats.gpt_oss import GptOss
from vllm_local.chat.reasoning_formats.granite import Granite
from vllm_local.chat.reasoning_formats.think import MistralThink, Think
from vllm_local.chat.tool_formats import TOOL_FORMATS, named_tool_formats
from vllm_local.starter import starter_path
from vllm_local.structured_output.compiler import GrammarCompiler
from vllm_local.structured_outputs_params import StructuredOutputsParams
from vllm_local.tokenizer.tokenizer import Tokenizer

CALLS = [("f", {"text": "Grüße 😀", "number": 2, "flag": True, "choice": "b c"}), ("g", {})]
TOOLS = [tool("f", SCHEMA), tool("g")]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_path(starter_path())


@pytest.fixture(scope="module")
def compiler(tokenizer):
    return GrammarCompiler(tokenizer, tokenizer.vocab_size)


def takes(compiler, tokenizer, constraint, text):
    """Whether the whole text is allowed, and the answer may end behind it."""
    grammar = compiler.compile(StructuredOutputsParams(constraint=constraint), 4096)
    token_ids = [*tokenizer.encode(text, add_special_tokens=False), min(tokenizer.eos_token_ids)]
    return grammar.validate(token_ids) == len(token_ids)


@pytest.mark.parametrize("tool_format", TOOL_FORMATS, ids=lambda item: item.name)
def test_takes_calls(compiler, tokenizer, tool_format):
    calls = CALLS[:1] if tool_format.name == "gpt_oss" else CALLS
    text = WRITERS[tool_format.name](calls)
    required = tool_format.constraint(ask("required", TOOLS))
    assert takes(compiler, tokenizer, required, text)
    assert not takes(compiler, tokenizer, required, text.replace("true", "maybe").replace("True", "maybe"))
    assert not takes(compiler, tokenizer, required, "Words.")


@pytest.mark.parametrize("tool_format", TOOL_FORMATS, ids=lambda item: item.name)
def test_leaves_the_choice(compiler, tokenizer, tool_format):
    auto = tool_format.constraint(ask("auto", TOOLS))
    final = "<|channel|>final<|message|>" if tool_format.name == "gpt_oss" else ""
    assert takes(compiler, tokenizer, auto, f"{final}Some wörds, [1] and {{a}}.")
    assert takes(compiler, tokenizer, auto, WRITERS[tool_format.name](CALLS[:1]))


THOUGHTS = {
    "<think>\nHm, <a>?\n</think>\n\n": ("hermes", Think()),
    "<think>Hm.</think>": ("qwen3_coder", Think()),
    "[THINK]Hm.[/THINK]": ("mistral", MistralThink()),
    "Here is my thought process: Hm. Here is my response:\n\n": ("granite", Granite()),
    "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant": ("gpt_oss", GptOss()),
}


@pytest.mark.parametrize("thoughts", THOUGHTS)
def test_thoughts_are_free(compiler, tokenizer, thoughts):
    name, reasoning_format = THOUGHTS[thoughts]
    (tool_format, *_) = named_tool_formats(name)
    call = WRITERS[name](CALLS[:1])
    found = constrain_answer(ask("required", TOOLS), None, tool_format, reasoning_format, "free")
    assert found is not None
    assert takes(compiler, tokenizer, found.constraint, call)
    assert takes(compiler, tokenizer, found.constraint, thoughts + call)
    assert not takes(compiler, tokenizer, found.constraint, f"{thoughts}Words.")
