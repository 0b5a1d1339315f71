import pytest

from vllm_local.starter.evaluate import SKILLS, Answer, draw_samples, evaluate, wilson_interval


def test_wilson_interval():
    low, high = wilson_interval(95, 100)
    assert low == pytest.approx(0.8882, abs=1e-3)
    assert high == pytest.approx(0.9785, abs=1e-3)
    assert wilson_interval(0, 10)[0] == 0.0


def test_scores_count_exact_answers_that_ended():
    expected = {str(s.prompt): s.expected for skill in SKILLS for s in draw_samples(skill, 10, seed=0)}
    scores = evaluate(lambda prompts: [Answer(expected[str(prompt)], stopped=True) for prompt in prompts], 10, seed=0)
    for score, failures in scores:
        assert (score.correct, score.stopped, failures) == (score.samples, score.samples, [])
    scores = evaluate(lambda prompts: [Answer(expected[str(prompt)], stopped=False) for prompt in prompts], 10, seed=0)
    assert {score.correct for score, _ in scores} == {0}
