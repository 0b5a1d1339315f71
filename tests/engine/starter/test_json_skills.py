import json
import re
from random import Random

import pytest

from vllm_local.starter.skills.choices import choose
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.extraction import _draw_case, extraction, is_reserved, repeated_extractions
from vllm_local.starter.skills.objects import short_object
from vllm_local.starter.skills.scenes import composed_field, known_scenes
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks

SPLITS = ["train", "heldout"]
FILES = ["extraction", "choices", "objects"]
SHARED = {"{text}", "{ask} {json}"}
MAKERS = [extraction, choose, short_object]


def _draw(maker, split, count=300, room=900):
    return [maker(Source(Random(f"{split} {seed}"), split, split, room=room)) for seed in range(count)]


def _answer(conversation):
    """Return the object of the answer, or None for an answer in words."""
    *_, last = conversation.messages
    if "tool_calls" in last:
        return last["tool_calls"][0]["function"]["arguments"]
    return json.loads(last["content"]) if last["content"].startswith("{") else None


def _request(conversation):
    texts = [message["content"] for message in conversation.messages[:-1]]
    return "\n".join([*texts, *(json.dumps(tool, ensure_ascii=False) for tool in conversation.tools)])


def _leaves(value):
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else [value]


def _plain(text):
    return re.sub(r"[^\w{}]+", " ", text.lower()).strip()


@pytest.mark.parametrize("split", SPLITS)
def test_every_extracted_value_occurs_in_the_request(split):
    for conversation in _draw(extraction, split):
        for value in _answer(conversation).values():
            for leaf in _leaves(value):
                assert leaf is None or isinstance(leaf, bool) or str(leaf) in _request(conversation)


def test_training_asks_for_what_names_the_thing_more_often_than_evaluation():
    shares = []
    for split in SPLITS:
        drawn = [_draw_case(Source(Random(f"{split} {seed}"), split), known_scenes(split)[0], 2) for seed in range(500)]
        named = [case for case in drawn if case.subject.value]
        shares.append(sum(case.subject in case.asked for case in named) / len(named))
    assert shares[0] > shares[1] + 0.05


def test_every_further_request_is_answered_from_the_one_text():
    several = [conversation for conversation in _draw(repeated_extractions, "train") if len(conversation.messages) > 5]
    assert len(several) > 150
    for conversation in several:
        roles = [message["role"] for message in conversation.messages]
        first = _request(Conversation(conversation.messages[: roles.index("assistant") + 1]))
        for message in conversation.messages:
            if message["role"] == "assistant":
                answer = json.loads(message["content"])
                assert not is_reserved(list(answer))
                leaves = [leaf for value in answer.values() for leaf in _leaves(value)]
                assert all(leaf is None or isinstance(leaf, bool) or str(leaf) in first for leaf in leaves)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("maker", [extraction, short_object])
def test_keys_stand_in_the_order_of_the_request(maker, split):
    for conversation in _draw(maker, split):
        answer = _answer(conversation)
        for tool in conversation.tools:
            assert list(tool["function"]["parameters"]["properties"]) == list(answer)
        if answer is not None and not conversation.tools:
            keys = ".*".join(rf"\b{re.escape(key)}\b" for key in answer)
            words = ".*".join(rf"\b{re.escape(key.replace('_', ' '))}\b" for key in answer)
            assert re.search(f"{keys}|{words}", _request(conversation), re.DOTALL)


@pytest.mark.parametrize("split", SPLITS)
def test_extraction_has_every_type_missing_fields_and_tools(split):
    conversations = _draw(extraction, split, 600)
    leaves = [leaf for each in conversations for value in _answer(each).values() for leaf in _leaves(value)]
    assert {type(leaf) for leaf in leaves} == {str, int, float, bool, type(None)}
    assert any(isinstance(value, list) for each in conversations for value in _answer(each).values())
    assert any(not str(leaf).isascii() for leaf in leaves)
    assert any(each.tools for each in conversations)


@pytest.mark.parametrize("split", SPLITS)
def test_a_choice_is_one_of_the_options(split):
    for conversation in _draw(choose, split):
        answer = conversation.messages[-1]["content"]
        assert answer
        assert re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", _request(conversation))


@pytest.mark.parametrize("split", SPLITS)
def test_a_joke_is_about_its_topic(split):
    jokes = [answer for answer in map(_answer, _draw(short_object, split)) if answer and "punchline" in answer]
    assert jokes
    for joke in jokes:
        topic = joke["punchline"].removeprefix("Because the ").removesuffix(" wanted to learn a new trick.")
        assert joke.get("setup", f"Why did the {topic} go to school?") == f"Why did the {topic} go to school?"


@pytest.mark.parametrize("maker", MAKERS)
def test_a_conversation_is_reproducible_and_keeps_to_its_room(maker):
    assert _draw(maker, "train", 20) == _draw(maker, "train", 20)
    for conversation in _draw(maker, "train", 50, room=256):
        assert len(_request(conversation)) < 256 * 3


@pytest.mark.parametrize("name", FILES)
def test_training_and_held_out_lines_are_disjoint(name):
    blocks = {split: read_blocks(f"{split}/{name}.txt") for split in SPLITS}
    train, held_out = ({_plain(line) for lines in blocks[split].values() for line in lines} for split in SPLITS)
    assert train & held_out <= {_plain(line) for line in SHARED}


def test_nothing_of_the_standard_tests_is_asked_for():
    for maker in (extraction, short_object):
        for conversation in _draw(maker, "train", 600):
            assert "about cats" not in _request(conversation)
            for tool in conversation.tools:
                properties = set(tool["function"]["parameters"]["properties"])
                assert properties not in ({"name", "age"}, {"setup", "punchline"})


def test_plain_fields_of_training_are_as_people_write() -> None:
    texts = read_blocks("train/vocabulary.txt")
    known = {word for lines in texts.values() for line in lines for word in line.split()}
    fields = [composed_field(Source(Random(seed)), plain=True) for seed in range(300)]

    more = {"the", "of", "is", "total", "date", "time", "city"}
    assert {word for field in fields for word in field.key.split("_")} <= known | more
    assert all(f.kinds == ("date",) for f in fields if f.key.endswith("_date"))
    assert {f.type for f in fields} == {"string", "integer", "number", "boolean", "strings"}
    assert not any(clause.startswith(("by the way", "for the record")) for f in fields for clause in f.clauses)
