import json

import pytest
import torch

from vllm_local.starter.corpus import Batch
from vllm_local.starter.train import Plan, Progress, counted_positions, learning_rate, train


def test_the_learning_rate_warms_up_stays_and_falls_to_zero():
    rates = [learning_rate(share / 100) for share in range(101)]
    assert rates[0] < 0.1
    assert rates[2:20] == [1.0] * 18
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[60] == pytest.approx(0.5)
    assert rates[-1] == 0.0


def test_a_plan_is_measured_in_tokens_or_minutes(tmp_path):
    progress = Progress(tokens=30, seconds=90)
    assert progress.share(Plan(tmp_path, minutes=None, tokens=60)) == 0.5
    assert progress.share(Plan(tmp_path, minutes=3, tokens=None)) == 0.5
    assert progress.share(Plan(tmp_path, minutes=1, tokens=None)) == 1.0


def test_several_processes_on_one_gpu_are_refused(tmp_path):
    with pytest.raises(ValueError, match="--processes 1"):
        Plan(tmp_path, minutes=1, tokens=None, processes=2, device="cuda")


def test_answers_always_count_and_other_text_in_part():
    targets = torch.ones(4, 500, dtype=torch.long)
    targets[:, -50:] = -100
    answers = torch.zeros(4, 500, dtype=torch.bool)
    answers[:, :100] = True
    (counted,) = counted_positions([Batch(targets, targets, answers)], 0.25, seed=1)
    assert counted[:, :100].all()
    assert not counted[:, -50:].any()
    assert 0.15 < counted[:, 100:-50].float().mean() < 0.35


@pytest.mark.slow
@pytest.mark.timeout(600)  # it builds a tokenizer first
def test_a_short_run_learns_stops_and_continues(tmp_path):
    train(Plan(tmp_path, minutes=None, tokens=60_000))
    report = json.loads((tmp_path / "training.json").read_text())
    assert report["tokens"] >= 60_000
    first = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    losses = [loss for _, loss in first["progress"]["losses"]]
    assert losses[-1] < losses[0] - 0.5
    train(Plan(tmp_path, minutes=None, tokens=80_000))
    second = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert second["progress"]["step"] > first["progress"]["step"]
    assert set(second["optimizers"]) == set(first["optimizers"])
    assert (tmp_path / "loss.png").stat().st_size > 1_000
