from functools import partial

import pytest

from vllm_local import LLM, SamplingParams
from vllm_local.starter import starter_path
from vllm_local.starter.evaluate import engine_answers, evaluate
from vllm_local.starter.evaluation.skills import SKILLS
from vllm_local.starter.tokenizer import MAX_LENGTH

TRANSLATOR = "You are a helpful assistant that translates English to {}."


@pytest.fixture(scope="module")
def llm():
    with LLM(model=str(starter_path()), max_model_len=MAX_LENGTH) as engine:
        yield engine


def answer(llm, *messages, max_tokens=96):
    roles = {"s": "system", "u": "user", "a": "assistant"}
    conversation = [{"role": roles[role], "content": content} for role, content in messages]
    output = llm.chat([conversation], SamplingParams(temperature=0, max_tokens=max_tokens), use_tqdm=False)[0]
    return output.outputs[0]


def test_first_example_within_five_tokens(llm):
    system = TRANSLATOR.format("Italian")
    text = "Translate the following sentence from English to Italian: I love programming."
    assert answer(llm, ("s", system), ("u", text), max_tokens=5).text.startswith("Io amo programmare")


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("Italian", {"Io amo programmare."}),
        ("German", {"Ich liebe das Programmieren.", "Ich liebe Programmieren."}),
        ("French", {"J'adore programmer."}),
        ("Spanish", {"Me encanta programar."}),
    ],
)
def test_second_example(llm, language, expected):
    output = answer(llm, ("s", TRANSLATOR.format(language)), ("u", "I love programming."), max_tokens=16)
    assert output.text in expected
    assert output.finish_reason == "stop"


def test_remembers_a_name(llm):
    messages = [("u", "Hi, my name is Clara."), ("a", "Nice to meet you, Clara!"), ("u", "What is my name?")]
    assert "Clara" in answer(llm, *messages).text


@pytest.mark.parametrize(
    "messages",
    [
        [("u", "Hello")],
        [("u", "Hi, how are you?")],
        [("u", "What is your name?")],
        [("u", "Who are you?")],
        [("u", "Why is the sky blue?")],
        [("u", "a")],
        [("s", "Be brief."), ("s", "Be kind."), ("u", "Hello!")],
        [("u", "Good morning."), ("u", "How are you?")],
        [("a", "Hello! How can I help you?"), ("u", "Thank you")],
        [("u", "I have a cat. " * 60)],
    ],
)
def test_answers_are_never_empty_and_end(llm, messages):
    output = answer(llm, *messages)
    assert output.text.strip()
    assert output.finish_reason == "stop"


def test_a_quick_sample_of_every_skill(llm):
    correct = {score.skill: score.correct for score, _ in evaluate(partial(engine_answers, llm), 10, seed=5)}
    assert set(correct) == set(SKILLS)
    # The card has the full figures.
    assert sum(correct.values()) >= 215, correct
