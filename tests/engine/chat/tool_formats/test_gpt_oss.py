"""Messages to functions."""

import pytest

from tests.engine.chat.answers import allows, ask, said
from vllm_local.chat.tool_formats.gpt_oss import GptOss
from vllm_local.grammar_spec import Json

OSS = GptOss()
CALL = '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Ulm"}'
ANSWER = "<|channel|>final<|message|>It is 3 °C."
WEATHER = ("get_weather", {"city": "Ulm"})

READ = {
    "a call": (f"{CALL}<|call|>", "", [WEATHER]),
    "without its end": (CALL, "", [WEATHER]),
    "the recipient first": (
        ' to=functions.get_weather<|channel|>commentary json<|message|>{"city": "Ulm"}<|call|>',
        "",
        [WEATHER],
    ),
    "no arguments": ("<|channel|>commentary to=functions.now<|message|><|call|>", "", [("now", {})]),
    "words before": (
        f"<|channel|>commentary<|message|>I look.<|end|><|start|>assistant{CALL}<|call|>",
        "I look.",
        [WEATHER],
    ),
    "an answer": (f"{ANSWER}<|return|>", "It is 3 °C.", []),
    "no markup": ("It is <3.", "It is <3.", []),
    "cut off in the head": ("<|channel|>commentary to=functions.get_", "", []),
    "cut off in the arguments": (CALL[:-3], "", [("get_weather", '{"city": "Ul')]),
}


@pytest.mark.parametrize(("text", "content", "calls"), READ.values(), ids=READ)
def test_reads(text, content, calls):
    assert said(text, OSS) == (content, calls)


def test_asks_for_what_it_reads():
    assert allows(OSS.constraint(ask("required")), CALL)
    assert not allows(OSS.constraint(ask("required")), ANSWER)
    auto = OSS.constraint(ask())
    assert allows(auto, CALL)
    assert allows(auto, ANSWER)
    assert allows(auto, f"<|channel|>commentary<|message|>I look.<|end|><|start|>assistant{CALL}")
    schema = Json({"type": "object"})
    for request in (ask(), ask("none")):
        assert allows(OSS.constraint(request, schema), "<|channel|>final<|message|>{}")
        assert not allows(OSS.constraint(request, schema), "{}")
