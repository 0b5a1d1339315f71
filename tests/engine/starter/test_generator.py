import ast
import importlib.util
import json
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from vllm_local.starter.evaluate import SKILLS, draw_samples
from vllm_local.starter.generator import draw_conversation

CONVERSATIONS = 12_000


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


@pytest.fixture(scope="module")
def conversations():
    rng = Random(2024)
    return [draw_conversation(rng, room=1024 if index % 40 == 0 else 256) for index in range(CONVERSATIONS)]


@pytest.fixture(scope="module")
def text(conversations):
    return "\n".join(_plain(message["content"]) for messages in conversations for message in messages)


def test_same_seed_same_conversations():
    first, second = ([draw_conversation(Random(f"7/{i}")) for i in range(200)] for _ in range(2))
    assert first == second


def test_every_conversation_ends_with_a_non_empty_answer(conversations):
    assert all(messages[-1]["role"] == "assistant" and messages[-1]["content"].strip() for messages in conversations)


def test_all_content_can_be_encoded(conversations):
    json.dumps(conversations, ensure_ascii=False).encode()


def _standard_test_prompts():
    """Every string of five words or more in LangChain's standard tests for chat models, docstrings aside."""
    spec = importlib.util.find_spec("langchain_tests")
    if spec is None or spec.origin is None:
        return []
    prompts = set()
    for path in Path(spec.origin).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in docstrings]
        strings = [node.value for node in constants if isinstance(node.value, str)]
        prompts |= {_plain(string) for string in strings if len(string.split()) >= 5}
    return sorted(prompts)


def test_no_prompt_of_the_standard_tests_is_in_the_training_data(text):
    prompts = _standard_test_prompts()
    if not prompts:
        pytest.skip("langchain-tests is not installed")
    assert "tell me a joke about cats." in prompts
    assert [prompt for prompt in prompts if prompt in text] == []


def test_no_evaluation_sample_is_a_training_sample(conversations):
    seen = {json.dumps(messages[: index + 1]) for messages in conversations for index in range(len(messages))}
    samples = [sample for skill in SKILLS for sample in draw_samples(skill, 100, seed=0)]
    repeated = [sample.prompt for sample in samples if json.dumps(sample.prompt) in seen]
    assert repeated == []


def test_evaluation_is_seeded():
    for skill in islice(SKILLS, 3):
        assert draw_samples(skill, 20, seed=1) == draw_samples(skill, 20, seed=1)
        assert draw_samples(skill, 20, seed=1) != draw_samples(skill, 20, seed=2)
