import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from vllm_local.starter import STARTER_MODEL_NAME, starter_path
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.tokenizer import build_tokenizer, chat_template, render

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(starter_path() / "tokenizer.json"))


def test_name_and_folder():
    assert STARTER_MODEL_NAME == "vllm-local-starter"
    names = {path.name for path in starter_path().iterdir()}
    assert names >= {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_folder_is_small():
    assert sum(path.stat().st_size for path in starter_path().iterdir()) <= 25 * MEGABYTE


def test_finding_the_folder_loads_nothing_heavy():
    code = "import sys, vllm_local.starter as s; s.starter_path(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_greedy_by_default():
    settings = json.loads((starter_path() / "generation_config.json").read_text(encoding="utf-8"))
    assert settings["do_sample"] is False


@given(text=st.text())
def test_any_text_round_trips(text):
    tokenizer = Tokenizer.from_file(str(starter_path() / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_digits_are_single_tokens(tokenizer):
    assert tokenizer.encode("40712").tokens == list("40712")


def test_the_first_example_fits_five_tokens(tokenizer):
    assert len(tokenizer.encode("Io amo programmare").ids) <= 5


@pytest.mark.parametrize(
    "value", ["waffle", "reply_to", "is_public", "Ophelia Quill", "4415.1", "+37 953", "孙悟空", "Nîmes", "/a#b"]
)
@pytest.mark.parametrize("context", ["pass {} on", '"{}"', '": "{}", "', "\n- {}: string", '["{}"]', "of {}, and"])
def test_a_value_is_the_same_tokens_wherever_it_stands(tokenizer, value, context):
    alone, within = tokenizer.encode(value).tokens, tokenizer.encode(context.format(value)).tokens
    assert any(within[start : start + len(alone)] == alone for start in range(len(within)))


def test_tokenizer_is_reproducible():
    first, second = (build_tokenizer(seed=1, conversations=300).to_str() for _ in range(2))
    assert first == second


def test_the_model_s_template_is_the_scripts():
    settings = json.loads((starter_path() / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["chat_template"] == chat_template()


def test_template():
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi", "name": "Anna"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": "é"}}}]},
        {"role": "tool", "content": "one"},
        {"role": "tool", "content": [{"type": "text", "text": "two"}]},
    ]
    assert render(Conversation(messages), add_generation_prompt=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user name=Anna\nHi<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "f", "arguments": {"a": "é"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
