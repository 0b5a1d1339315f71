"""Training the starter model: ``python -m vllm_local.starter.train --output DIR --minutes 115``.

With ``--start MODEL`` it goes on from a model's weights and tokenizer, at lower rates and without the first stages, on
the hardest of three times as many conversations (``hard_examples.py``).

The recipe: small steps and copy drills first, the loss on every token at first and mostly on the answers later, longer
conversations as training goes on, Muon on the matrices and AdamW on the rest, a learning rate that falls to zero in a
straight line. A run is seeded, and continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, multiprocessing
from torch.multiprocessing.spawn import spawn

from vllm_local.starter.corpus import Batch, Corpus, Mixture
from vllm_local.starter.export import network_sizes, plot_losses, save_model
from vllm_local.starter.feed import Feed
from vllm_local.starter.hard_examples import choose_hardest
from vllm_local.starter.network import Network
from vllm_local.starter.precision import fastest_dtype
from vllm_local.starter.tokenizer import build_tokenizer, save_tokenizer
from vllm_local.starter.worker import Shared, Worker

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How much a device takes at once: tokens in a batch, batches in a step, steps in a block."""

    batch_tokens: int
    step_batches: int
    block_steps: int


# Muon's steps are of one size whatever the gradient, so many small steps learn more than few large ones.
_PACES = {"cpu": Pace(1024, 4, 96), "cuda": Pace(8192, 8, 16)}
# Of so many conversations a model that already knows something trains on the hardest one.
_CANDIDATES = 3
# Batches are not full, so that a little less than their tokens fills them.
_FULL = 0.82
# Until this share of the run: how often conversations may take so many tokens, share of drills, share of other text.
_STAGES = (
    (0.05, Mixture(((256, 80), (512, 20)), drills=0.5), 0.5),
    (0.15, Mixture(((256, 64), (512, 25), (1024, 11)), drills=0.2), 0.2),
    (0.5, Mixture(((256, 55), (512, 26), (1024, 17), (2304, 2)), drills=0.1), 0.05),
    (1.01, Mixture(((256, 50), (512, 30), (1024, 17), (2304, 2)), drills=0.05), 0.03),
)
_WARM_UP, _DECAY = 0.01, 0.8
# A model that goes on from another one's weights begins with the stage of this share, at this scale of the rates.
_START_SHARE, _START_RATE = 0.15, 0.5
_CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Plan:
    """What to train and for how long.

    Args:
        output: Folder for the model, the checkpoint and the loss plot.
        minutes: Wall-clock limit, or None.
        tokens: Token limit, or None; with it a run is reproducible.
        seed: Seed of the weights and of the data.
        processes: Processes that train together, each with one thread.
        save_every: Minutes between checkpoints.
        device: "cpu", or "cuda" with one process.
        makers: Processes that make the data; none: those that train do.
        start: Folder of a model whose weights and tokenizer to begin with; none: random weights, a new tokenizer.
        dtype: The type that the network multiplies in.
        compiled: Whether torch compiles parts of the network, as `Network` says.

    Raises:
        ValueError: If several processes are to train on one GPU.
    """

    output: Path
    minutes: float | None
    tokens: int | None
    seed: int = 0
    processes: int = 2
    save_every: float = 4.0
    device: str = "cpu"
    makers: int = 0
    start: Path | None = None
    dtype: torch.dtype = torch.float32
    compiled: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.device != "cpu" and self.processes > 1:
            message = f"{self.processes} processes cannot train on one GPU; give --processes 1."
            raise ValueError(message)

    @property
    def candidates(self) -> int:
        """Return from how many conversations each one to train on is chosen."""
        return 1 if self.start is None else _CANDIDATES

    def mixture(self, share: float) -> tuple[Mixture, float]:
        """Return what to train on at a share of the run, and the share of other text that counts."""
        reached = share if self.start is None else _START_SHARE + share * (1 - _START_SHARE)
        _, mixture, other_share = next(stage for stage in _STAGES if reached < stage[0])
        return mixture, other_share

    def rate(self, share: float) -> float:
        """Return the scale of the learning rates at a share of the run."""
        return learning_rate(share) * (1.0 if self.start is None else _START_RATE)


@dataclass
class Progress:
    """Where a run stands; saved with the checkpoint, which is written between blocks of steps."""

    block: int = 0
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)

    def summary(self) -> str:
        """Return the tokens and the last loss in words."""
        loss = f", loss on answers {self.losses[-1][1]:.3f}" if self.losses else ""
        return f"{self.tokens / 1e6:.2f} M tokens{loss}"

    def share(self, plan: Plan) -> float:
        """Return the share of the run that is done, 0 to 1."""
        if plan.tokens:
            return min(1.0, self.tokens / plan.tokens)
        return min(1.0, self.seconds / (60 * (plan.minutes or 1)))


def learning_rate(share: float) -> float:
    """Return the scale of the learning rates at a share of the run."""
    return min(1.0, share / _WARM_UP + 0.05, max(0.0, (1.0 - share) / _DECAY))


def counted_positions(batches: list[Batch], other_share: float, seed: int) -> list[Tensor]:
    """Return where the loss counts, [B, T] for each batch: on answers, and on a random share of other text."""
    chosen = torch.Generator().manual_seed(seed)
    return [
        (batch.targets != -100) & (batch.answers | (torch.rand(batch.tokens.shape, generator=chosen) < other_share))
        for batch in batches
    ]


class Trainer:
    """One process's view of a training run, from nothing or from its checkpoint.

    Args:
        plan: What to train.
        rank: Which of the processes this is; the first one reports and saves.
        shared: What the processes have in common.
        states: Where the other processes put their optimizers' states for a checkpoint.
    """

    def __init__(self, plan: Plan, rank: int, shared: Shared, states: Any) -> None:
        self._plan = plan
        self._rank = rank
        self._shared = shared
        self._states = states
        self._tokenizer = Tokenizer.from_file(str(plan.output / "tokenizer.json"))
        pace = _PACES[plan.device]
        self._pace = Pace(pace.batch_tokens, max(1, pace.step_batches // plan.processes), pace.block_steps)
        self._corpus = Corpus(self._tokenizer, plan.seed, pace.batch_tokens, part=rank)
        self._feed = Feed(self._corpus, plan.makers, plan.candidates * self._block_tokens())
        self._network = Network(network_sizes(self._tokenizer), plan.dtype, plan.compiled)
        self._worker = Worker(rank, shared, self._network)
        self._progress = Progress()
        self._resume()

    def run(self) -> None:
        """Train until the plan is fulfilled."""
        progress, plan = self._progress, self._plan
        saved = started = time.monotonic() - progress.seconds
        columns = (BarColumn(), TextColumn("{task.percentage:.0f} %  {task.description}"), TimeRemainingColumn())
        with ProgressBar(*columns, refresh_per_second=0.5, disable=self._rank > 0) as bar:
            task = bar.add_task("", total=1.0)
            while self._agreed_share(started) < 1:
                self._block(started, bar, task)
                if self._shared.control[1] > 60 * plan.save_every:
                    self._save()
                    saved = time.monotonic()
                self._tell(1, time.monotonic() - saved)
        self._save()
        self._feed.close()

    def _tell(self, index: int, value: float) -> None:
        """Let all processes see a number of the first one."""
        self._shared.barrier.wait()
        if self._rank == 0:
            self._shared.control[index] = value
        self._shared.barrier.wait()

    def _agreed_share(self, started: float) -> float:
        """Return the share of the run that is done, by the first process's clock."""
        self._progress.seconds = time.monotonic() - started
        self._tell(0, self._progress.share(self._plan))
        return float(self._shared.control[0])

    def _block(self, started: float, bar: ProgressBar, task: TaskID) -> None:
        """Train on one block, or on its start if the run ends there."""
        progress = self._progress
        share = float(self._shared.control[0])
        mixture, other_share = self._plan.mixture(share)
        losses = []
        for batches in self._steps(mixture):
            if (share := self._agreed_share(started)) >= 1:
                break
            counted = counted_positions(batches, other_share, self._plan.seed + progress.step)
            self._worker.step(batches, counted, self._plan.rate(share))
            progress.step += 1
            progress.tokens += int(self._shared.tokens.sum())
            losses.append((progress.tokens, self._shared.losses.sum(0)))
            bar.update(task, completed=share, description=progress.summary())
        # Read after the block, so that nobody waits for a GPU's steps one by one.
        for tokens, loss in losses:
            total, number = loss.tolist()
            progress.losses.append((tokens, total / number))
        if share < 1:
            progress.block += 1

    def _block_tokens(self) -> int:
        """Return how many tokens this process trains on in a block, about."""
        pace = self._pace
        return int(_FULL * pace.block_steps * pace.step_batches * pace.batch_tokens)

    def _steps(self, mixture: Mixture) -> list[list[Batch]]:
        """Return this process's batches of a block's steps: of the hardest conversations where there is a choice."""
        number, corpus = self._progress.block, self._corpus
        samples = self._feed.block(number, mixture)
        if self._plan.candidates > 1:
            losses = self._worker.answer_losses(corpus.batches(samples))
            rng = Random(f"{self._plan.seed}/{self._rank}/{number}")
            samples = choose_hardest(samples, losses, self._block_tokens(), rng)
        return corpus.steps(number, samples, self._pace.block_steps, self._pace.step_batches)

    def _resume(self) -> None:
        path = self._plan.output / _CHECKPOINT
        if path.exists():
            saved = torch.load(path, map_location=self._plan.device, weights_only=True)
            self._worker.restore(saved["optimizers"])
            self._progress = Progress(**saved["progress"])

    def _save(self) -> None:
        if self._rank > 0:
            self._states.put(self._worker.optimizer_state())
            self._shared.barrier.wait()
            return
        optimizers = self._worker.optimizer_state()
        for _ in range(self._plan.processes - 1):
            optimizers |= self._states.get()
        state = {"weights": self._shared.weights, "optimizers": optimizers, "progress": vars(self._progress)}
        path = self._plan.output / _CHECKPOINT
        torch.save(state, path.with_suffix(".new"))
        shutil.move(path.with_suffix(".new"), path)
        save_model(self._network, self._worker.weights(), self._tokenizer, self._plan.output)
        self._report()
        self._shared.barrier.wait()

    def _report(self) -> None:
        progress = self._progress
        plot_losses(progress.losses, self._plan.output / "loss.png")
        recent = [loss for _, loss in progress.losses[-50:]]
        report = {
            "steps": progress.step,
            "tokens": progress.tokens,
            "minutes": round(progress.seconds / 60, 1),
            "parameters": sum(p.numel() for p in self._network.parameters()),
            "seed": self._plan.seed,
        }
        (self._plan.output / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        share = 100 * progress.share(self._plan)
        _logger.info("%.0f %%: %s, loss on answers %.3f", share, report, sum(recent) / max(1, len(recent)))


def _train(rank: int, plan: Plan, shared: Shared, states: Any) -> None:
    """Do one process's part of the run."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    # Many probabilities and gradients are too small for a normal number, and such ones take many times as long.
    torch.set_flush_denormal(True)
    if rank == 0:
        _logger.info("trains in %s", plan.dtype)
    Trainer(plan, rank, shared, states).run()


def train(plan: Plan) -> None:
    """Train the model with several processes, and write it."""
    plan.output.mkdir(parents=True, exist_ok=True)
    path = plan.output / "tokenizer.json"
    if not path.exists():
        tokenizer = Tokenizer.from_file(str(plan.start / path.name)) if plan.start else build_tokenizer(plan.seed)
        save_tokenizer(tokenizer, plan.output)
    network = Network(network_sizes(Tokenizer.from_file(str(path))), plan.dtype)
    if plan.start:
        network.read_llama(load_file(plan.start / "model.safetensors"))
    else:
        network.initialise(plan.seed)
    weights = torch.cat([parameter.detach().float().flatten() for parameter in network.parameters()])
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(plan.processes)
    shared = Shared.create(len(weights), plan.processes, barrier, torch.device(plan.device))
    checkpoint = plan.output / _CHECKPOINT
    shared.weights.copy_(
        torch.load(checkpoint, map_location=plan.device, weights_only=True)["weights"]
        if checkpoint.exists()
        else weights
    )
    arguments = (plan, shared, context.Queue())
    if plan.processes == 1:
        _train(0, *arguments)
    else:
        spawn(_train, arguments, nprocs=plan.processes)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description="Train the starter model.")
    parser.add_argument("--output", type=Path, required=True, help="folder for model and checkpoint")
    parser.add_argument("--start", type=Path, help="folder of a model to go on from")
    parser.add_argument("--minutes", type=float, help="wall-clock limit")
    parser.add_argument("--tokens", type=int, help="token limit; makes a run reproducible")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=float, default=4.0, help="minutes between checkpoints")
    parser.add_argument("--device", choices=list(_PACES), default="cpu")
    parser.add_argument("--processes", type=int, help="processes of one thread each: 2 on the processor, 1 on a GPU")
    parser.add_argument("--makers", type=int, help="processes that make the data: 0, or all cores but one with a GPU")
    parser.add_argument("--compile", action="store_true", help="compile parts of the network; wants a C++ compiler")
    arguments = parser.parse_args()
    if (arguments.minutes is None) == (arguments.tokens is None):
        parser.error("give either --minutes or --tokens")
    on_processor = arguments.device == "cpu"
    processes = (2 if on_processor else 1) if arguments.processes is None else arguments.processes
    makers = (0 if on_processor else (os.cpu_count() or 2) - 1) if arguments.makers is None else arguments.makers
    limits = (arguments.output, arguments.minutes, arguments.tokens, arguments.seed, processes, arguments.save_every)
    dtype, device = fastest_dtype(arguments.device), arguments.device
    train(Plan(*limits, device, makers, arguments.start, dtype, compiled=arguments.compile))


if __name__ == "__main__":
    main()
