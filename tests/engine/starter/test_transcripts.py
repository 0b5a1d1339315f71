"""The model card quotes what the model really says."""

from importlib.resources import files

import pytest

from vllm_local import LLM
from vllm_local.starter import starter_path
from vllm_local.starter.tokenizer import MAX_LENGTH
from vllm_local.starter.transcripts import Transcript, Turn, parse_transcript, quoted_transcripts, replay

CARD = files("vllm_local.starter").joinpath("README.md").read_text(encoding="utf-8")
QUOTED = list(quoted_transcripts(CARD))
BLOCK = """\
tools: [{"name": "now"}]
thinking: yes
system: Be brief.
user Anna: What time is it?
assistant: <tool_call>⏎{"name": "now", "arguments": {}}⏎</tool_call>
tool: noon
assistant: It is noon.
"""


def answers_of(transcript):
    return [turn.text for turn in transcript.turns if turn.role == "assistant"]


def test_a_block_round_trips():
    transcript = parse_transcript(BLOCK)
    assert transcript.tools == ({"name": "now"},)
    assert transcript.thinking
    assert transcript.turns[1] == Turn("user", "What time is it?", "Anna")
    assert transcript.turns[2].message() == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "now", "arguments": {}}}],
    }
    assert transcript.text() == BLOCK


def test_what_is_no_line_of_a_conversation():
    with pytest.raises(ValueError, match="not a line of a conversation: 'nobody: Hi'"):
        parse_transcript("user: Hi\nnobody: Hi")


def test_the_card_quotes_ten_conversations_of_several_turns():
    assert len([transcript for transcript in QUOTED if len(answers_of(transcript)) > 1]) >= 10


def test_the_card_quotes_what_the_model_says():
    with LLM(model=str(starter_path()), max_model_len=MAX_LENGTH) as llm:
        fresh = [replay(llm, transcript) for transcript in QUOTED]
    quoted, said = ([text for transcript in made for text in answers_of(transcript)] for made in (QUOTED, fresh))
    changed = [pair for pair in zip(quoted, said, strict=True) if pair[0] != pair[1]]
    # Other processors round differently, which may turn a close decision, and what follows it in that conversation.
    assert len(changed) <= 0.1 * len(quoted), changed


def test_an_answer_is_asked_for_again():
    with LLM(model=str(starter_path()), max_model_len=MAX_LENGTH) as llm:
        told = Transcript((Turn("user", "Hello!"), Turn("assistant", "?")))
        assert replay(llm, told).turns[0] == told.turns[0]
        assert len(replay(llm, told).turns[1].text) > 1
