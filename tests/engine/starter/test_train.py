import json
from collections.abc import Sequence
from random import Random

import pytest
import torch
from safetensors.torch import load_file

from vllm_local.starter import starter_path
from vllm_local.starter.corpus import Batch, Sample
from vllm_local.starter.hard_examples import choose_hardest
from vllm_local.starter.train import Pace, Plan, Progress, counted_positions, learning_rate, train


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


@pytest.fixture
def one_thread():
    """Undo what a process that trains sets for itself, since here it is this one."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_goes_on_takes_the_hardest_of_three_times_as_many(tmp_path, monkeypatch):
    seen = []

    def choose(samples: Sequence[Sample], losses: Sequence[float], tokens: int, rng: Random) -> list[Sample]:
        chosen = choose_hardest(samples, losses, tokens, rng)
        seen.append((samples, losses, chosen))
        return chosen

    monkeypatch.setattr("vllm_local.starter.train._PACES", {"cpu": Pace(512, 2, 6)})
    monkeypatch.setattr("vllm_local.starter.train.choose_hardest", choose)
    train(Plan(tmp_path, minutes=None, tokens=1_500, processes=1, start=starter_path()))
    assert json.loads((tmp_path / "training.json").read_text())["tokens"] >= 1_500
    for samples, losses, chosen in seen:
        assert 2 < sum(len(sample.tokens) for sample in samples) / sum(len(sample.tokens) for sample in chosen) < 4
        mean = sum(losses) / len(losses)
        assert sum(losses[samples.index(sample)] for sample in chosen) / len(chosen) > 1.5 * mean > 0
    old, new = (load_file(folder / "model.safetensors") for folder in (starter_path(), tmp_path))
    assert old.keys() == new.keys()
    assert not torch.equal(old["model.norm.weight"], new["model.norm.weight"])


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
