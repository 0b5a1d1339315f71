"""Which template thinks in which format, where a prompt leaves off, and thoughts told from answers."""

import logging

import pytest

from tests.engine.chat.answers import allows, read
from vllm_local.chat.reasoning_formats import REASONING_FORMATS, detect_reasoning_format
from vllm_local.chat.reasoning_formats.gpt_oss import GptOss
from vllm_local.chat.reasoning_formats.granite import Granite
from vllm_local.chat.reasoning_formats.think import CohereThink, MistralThink, SeedThink, Think
from vllm_local.errors import InvalidConfigError
from vllm_local.starter import starter_path

THINK, GRANITE, OSS = Think(), Granite(), GptOss()
STARTER = starter_path().with_name("chat_template.jinja").read_text(encoding="utf-8")
QWEN = (
    "{{- '<think>\\n' + reasoning + '\\n</think>\\n\\n' }}{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
)

TEMPLATES = {
    "qwen 3": (QWEN, "think"),
    "starter": (STARTER, "think"),
    "deepseek r1": ("{% set content = content.split('</think>')[-1] %}{{'<｜Assistant｜><think>\\n'}}", "think"),
    "magistral": ("… draft your thinking process … [THINK]…[/THINK]", "mistral"),
    "seed oss": ("{{ '<seed:think>' }}", "seed_oss"),
    "command a": ("{{- '<|START_THINKING|>' }}", "cohere"),
    "granite": ("… write it between \\'Here is my thought process:\\' and \\'Here is my response:\\' …", "granite"),
    "gpt-oss": ("{{- '<|start|>assistant<|channel|>analysis<|message|>' }}", "gpt_oss"),
}


def name_of(reasoning_format):
    return reasoning_format and reasoning_format.name


@pytest.mark.parametrize(("template", "name"), TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_s_format_is_found_and_logged(template, name, caplog):
    with caplog.at_level(logging.INFO):
        assert name_of(detect_reasoning_format(template)) == name
    assert f"format {name}, from the chat template" in caplog.text


def test_a_template_that_does_not_think(caplog):
    with caplog.at_level(logging.INFO):
        assert detect_reasoning_format("{{ messages }}") is None
    assert not caplog.records


def test_a_format_can_be_named():
    assert name_of(detect_reasoning_format("", "deepseek_r1")) == "think"
    assert name_of(detect_reasoning_format(QWEN, "openai_gptoss")) == "gpt_oss"
    names = {name for item in REASONING_FORMATS for name in (item.name, *item.vllm_parser_names)}
    assert all(detect_reasoning_format("", name) is not None for name in names)
    with pytest.raises(InvalidConfigError, match="reasoning_parser='nope' is not known; use one of cohere,"):
        detect_reasoning_format("", "nope")


@pytest.mark.parametrize(
    ("prompt", "template", "continues", "state"),
    [
        ("<|im_start|>assistant\n", QWEN, False, "free"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", QWEN, False, "closed"),
        ("<|im_start|>assistant\n<think>\n", STARTER, False, "open"),
        ("<|im_start|>assistant\n", STARTER, False, "closed"),
        ("User: what is <think>?\nAssistant:", QWEN, False, "free"),
        ("Assistant: <think>\nLet me", QWEN, True, "open"),
        ("Assistant: <think>\nLet me.</think> Well,", QWEN, True, "closed"),
        ("Assistant: Well,", QWEN, True, "closed"),
    ],
)
def test_how_a_prompt_leaves_off(prompt, template, continues, state):
    assert THINK.state(prompt, template, continues=continues) == state


def test_prompts_of_formats_without_tags():
    assert GRANITE.state("assistant: Here is my response:", "") == "free"
    assert GRANITE.state("assistant: Here's my thought process: Hm", "", continues=True) == "open"
    assert OSS.state("<|start|>assistant", "") == "free"


ANALYSIS, NEXT = "<|channel|>analysis<|message|>", "<|end|><|start|>assistant"
ANSWERS = {
    "a block": (THINK, "free", "<think>\nHm.\n\nSo.\n</think>\n\nYes.", "Hm.\n\nSo.", "Yes."),
    "opened by the prompt": (THINK, "open", "Hm.</think>Yes.", "Hm.", "Yes."),
    "opened twice": (THINK, "open", "<think>Hm.</think>Yes.", "Hm.", "Yes."),
    "no block": (THINK, "free", "\n Yes.", "", "\n Yes."),
    "closed by the prompt": (THINK, "closed", "Yes.\n", "", "Yes.\n"),
    "closed, and opened again": (THINK, "closed", "<think>Hm.</think>Yes.", "Hm.", "Yes."),
    "an empty block": (THINK, "free", "<think>\n\n</think>\n\nYes.", "", "Yes."),
    "a later block": (THINK, "free", "It is <think>a</think>.", "", "It is <think>a</think>."),
    "a tag that is another": (THINK, "free", "<thin>k</thin>", "", "<thin>k</thin>"),
    "half a tag in it": (THINK, "open", "a </thin b</think>c", "a </thin b", "c"),
    "cut off": (THINK, "open", "Hm, let", "Hm, let", ""),
    "cut off in the tag": (THINK, "open", "Hm.\n</thi", "Hm.\n</thi", ""),
    "magistral": (MistralThink(), "free", "[THINK]Hm.[/THINK]Yes.", "Hm.", "Yes."),
    "seed oss": (SeedThink(), "free", "<seed:think>Hm.</seed:think>Yes.", "Hm.", "Yes."),
    "command a": (CohereThink(), "free", "<|START_THINKING|>Hm.<|END_THINKING|>Yes.", "Hm.", "Yes."),
    "granite": (GRANITE, "free", "Here is my thought process: Hm. Here is my response: Yes.", "Hm. ", "Yes."),
    "granite's other spelling": (
        GRANITE,
        "free",
        "Here's my thought process:\n\nHm.\n\nHere's my response:\n\nYes.",
        "Hm.",
        "Yes.",
    ),
    "granite without": (GRANITE, "free", "Here is my answer.", "", "Here is my answer."),
    "gpt-oss": (
        OSS,
        "free",
        f"{ANALYSIS}Hm.{NEXT}{ANALYSIS}So.{NEXT}<|channel|>final<|message|>Yes.<|return|>",
        "Hm.\nSo.",
        "Yes.",
    ),
    "gpt-oss cut off": (OSS, "free", "<|channel|>analysis<|message|>Hm", "Hm", ""),
}


@pytest.mark.parametrize(("item", "state", "text", "reasoning", "content"), ANSWERS.values(), ids=ANSWERS)
def test_reads(item, state, text, reasoning, content):
    answer = read(text, None, item, state=state)
    assert (answer.reasoning, answer.content) == (reasoning, content)


def test_what_may_stand_before_a_constrained_answer():
    for item in (THINK, MistralThink(), SeedThink(), CohereThink(), GRANITE):
        start, end = item.starts[0], item.ends[0]
        assert item.end == end
        assert item.before("closed") is None
        assert allows(item.before("free"), "")
        assert allows(item.before("free"), f"{start}\nHm.\n{end}\n\n")
        assert not allows(item.before("free"), f"{start}Hm.")
        assert allows(item.before("open"), "\n\n")
        assert not allows(item.before("open"), f"Hm.{end}")
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    assert all(allows(OSS.before("free"), thought * times) for times in range(3))
