import argparse
import json

import pytest

from vllm_local import LLM, SamplingParams
from vllm_local.starter import evaluate as script
from vllm_local.starter import starter_path
from vllm_local.starter.evaluate import chosen_skills, engine_answers, evaluate
from vllm_local.starter.evaluation.answer import Answer, is_accepted
from vllm_local.starter.evaluation.sample import Sample, sample_of
from vllm_local.starter.evaluation.score import wilson_interval
from vllm_local.starter.evaluation.skills import SKILLS, draw_samples
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.messages import assistant, exchange, user
from vllm_local.starter.tokenizer import render

TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}},
}


def draw_every_skill(count):
    return [sample for skill in SKILLS for sample in draw_samples(skill, count, seed=0)]


def test_wilson_interval():
    low, high = wilson_interval(95, 100)
    assert low == pytest.approx(0.8882, abs=1e-3)
    assert high == pytest.approx(0.9785, abs=1e-3)
    assert wilson_interval(0, 10)[0] == 0.0


def test_the_expected_answer_is_what_the_template_writes():
    plain = sample_of(exchange("Hi", "Hello!"))
    assert (plain.prompt, plain.expected) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        "Hello!",
    )
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": "é"}}}]}
    called = sample_of(Conversation([user("Call it."), call], tools=(TOOL,)))
    assert called.expected == '<tool_call>\n{"name": "f", "arguments": {"a": "é"}}\n</tool_call>'
    thought = {**assistant("2 + 2 = 4."), "reasoning_content": "2, 3, 4."}
    thinking = sample_of(Conversation([user("2 + 2?"), thought], thinking=True))
    assert thinking.expected == "2, 3, 4.\n</think>\n\n2 + 2 = 4."
    assert thinking.prompt.endswith("<|im_start|>assistant\n<think>\n")


def test_a_sample_needs_an_answer():
    with pytest.raises(ValueError, match="no answer"):
        sample_of([assistant("Hello!"), user("Hi")])


@pytest.mark.parametrize(
    ("rule", "expected", "text", "is_right"),
    [
        ("exact", "a", "a", True),
        ("exact", "a", "a ", False),
        ("after thinking", "x\n</think>\n\na", "y\n</think>\n\na", True),
        ("after thinking", "x\n</think>\n\na", "x\n</think>\n\nb", False),
        ("after thinking", "x\n</think>\n\na", "a", False),
        ("no call", "a", "b", True),
        ("no call", "a", "", False),
        ("no call", "a", "<tool_call>\n{}", False),
    ],
)
def test_acceptance(rule, expected, text, is_right):
    assert is_accepted(rule, expected, Answer(text, stopped=True)) is is_right
    assert not is_accepted(rule, expected, Answer(text, stopped=False))


def test_scores_count_right_answers_that_ended():
    expected = {sample.prompt: sample.expected for sample in draw_every_skill(10)}
    scores = evaluate(lambda prompts: [Answer(expected[prompt], True, 7) for prompt in prompts], 10, seed=0)
    for score, failures in scores:
        assert (score.correct, score.stopped, failures) == (score.samples, score.samples, [])
        assert score.prompt_tokens == 7
    scores = evaluate(lambda prompts: [Answer(expected[prompt], stopped=False) for prompt in prompts], 10, seed=0)
    assert {score.correct for score, _ in scores} == {0}


def test_the_same_prompts_are_answered_once():
    asked: list[str] = []

    def generate(prompts):
        asked.extend(prompts)
        return [Answer("No.", stopped=True) for _ in prompts]

    scores = {score.skill: score for score, _ in evaluate(generate, 12, 0, chosen_skills("needless, and the right"))}
    needless, right = scores.values()
    assert (len(asked), needless.correct, right.correct) == (12, 12, 0)


def test_skills_are_chosen_by_parts_of_their_names():
    assert chosen_skills("") == list(SKILLS)
    assert chosen_skills("EXTRACTION, two calls") == ["tools: two calls", "extraction"]
    with pytest.raises(argparse.ArgumentTypeError, match="no skill is called"):
        chosen_skills("cooking")


@pytest.mark.slow
def test_every_skill_has_300_samples_of_its_own():
    for skill, definition in SKILLS.items():
        prompts = [sample.prompt for sample in draw_samples(skill, 300, seed=0)]
        assert len(set(prompts)) == 300, skill
        assert all(len(prompt) >= definition.characters for prompt in prompts)


def test_samples_are_seeded():
    for skill in SKILLS:
        first = draw_samples(skill, 10, seed=1)
        assert first == draw_samples(skill, 10, seed=1)
        assert first != draw_samples(skill, 10, seed=2)


@pytest.fixture(scope="module")
def llm():
    with LLM(model=str(starter_path()), max_model_len=4096) as engine:
        yield engine


@pytest.mark.parametrize(
    "skill",
    ["translation: new ways to ask", "tools: answer from a result", "tools: two calls", "sums with thinking"],
)
def test_chat_gives_the_same_prompt(llm, skill):
    sample = draw_samples(skill, 1, seed=3)[0]
    conversation = sample.conversation
    output = llm.chat(
        conversation.messages,
        SamplingParams(temperature=0, max_tokens=1),
        tools=conversation.tools or None,
        chat_template_kwargs={"enable_thinking": conversation.thinking},
        use_tqdm=False,
    )[0]
    prompt = render(conversation, add_generation_prompt=True, template=script.model_template(starter_path()))
    assert output.prompt == prompt
    assert output.prompt_token_ids == llm.get_tokenizer().encode(prompt, add_special_tokens=False)


def test_the_engine_answers_with_lengths(llm):
    sample = Sample(Conversation([user("Hello")]), "")
    answer = engine_answers(llm, [sample.prompt], max_tokens=32)[0]
    assert answer.text
    assert answer.prompt_tokens == len(llm.get_tokenizer().encode(sample.prompt, add_special_tokens=False))


def test_the_script_writes_its_scores(tmp_path, monkeypatch):
    target = tmp_path / "scores.json"
    options = ["--samples", "2", "--skills", "counting: ,small talk", "--failures", "1", "--json", str(target)]
    monkeypatch.setattr("sys.argv", ["evaluate", *options])
    script.main()
    scores = json.loads(target.read_text(encoding="utf-8"))
    assert [score["skill"] for score in scores] == ["small talk"]
    assert scores[0]["samples"] == 2


@pytest.mark.slow
def test_transformers_gives_the_same_answers(llm):
    prompts = [sample.prompt for sample in draw_samples("translation: new ways to ask", 8, seed=4)]
    with script.transformers_generator(str(starter_path()), batch_size=3) as generate:
        assert generate(prompts) == engine_answers(llm, prompts)
