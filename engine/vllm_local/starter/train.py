"""Training the starter model: ``python -m vllm_local.starter.train --output DIR --minutes 25``.

The recipe: copy drills first, the loss on every token at first and mostly on the answers later, Muon on the
matrices and AdamW on the rest, cosine decay. A run is seeded, and continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from vllm_local.starter.corpus import Batch, Corpus
from vllm_local.starter.tokenizer import END, MAX_LENGTH, PAD, build_tokenizer, save_tokenizer, token_id

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

_logger = logging.getLogger(__name__)
_SHAPES = ((256, 24), (512, 12), (1024, 6), (2304, 3))  # row length, rows
_STAGES = (  # until this share of the run: how often each shape
    (0.15, (70, 30, 0, 0)),
    (0.45, (35, 40, 25, 0)),
    (0.75, (30, 35, 29, 6)),
    (1.01, (25, 32, 30, 13)),
)
_CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Plan:
    """What to train and for how long.

    Args:
        output: Folder for the model, the checkpoint and the loss plot.
        minutes: Wall-clock limit, or None.
        tokens: Token limit, or None; with it a run is reproducible.
        seed: Seed of the weights and of the data.
        compiled: Whether torch compiles the model (a quarter faster; needs a C++ compiler).
        save_every: Minutes between checkpoints.
    """

    output: Path
    minutes: float | None
    tokens: int | None
    seed: int = 0
    compiled: bool = False
    save_every: float = 4.0


@dataclass
class Progress:
    """Where a run stands; saved with the checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)

    def share(self, plan: Plan) -> float:
        """Return the share of the run that is done, 0 to 1."""
        if plan.tokens:
            return min(1.0, self.tokens / plan.tokens)
        return min(1.0, self.seconds / (60 * (plan.minutes or 1)))


def build_model(tokenizer: Tokenizer, seed: int) -> LlamaForCausalLM:
    """Return the untrained model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        bos_token_id=None,
        eos_token_id=token_id(tokenizer, END),
        pad_token_id=token_id(tokenizer, PAD),
    )
    return LlamaForCausalLM(config)


class Optimizers:
    """Muon on the matrices of the layers, AdamW on embeddings and norms, one schedule for both."""

    def __init__(self, model: nn.Module) -> None:
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
        muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.01)
        adam = torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0)
        self._optimizers: list[tuple[torch.optim.Optimizer, float]] = [(muon, 0.02), (adam, 3e-3)]

    def step(self, scale: float) -> None:
        """Apply the gradients with the learning rates scaled, and clear them."""
        for optimizer, rate in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> list[dict[str, Any]]:
        """Return the states for a checkpoint."""
        return [optimizer.state_dict() for optimizer, _ in self._optimizers]

    def load(self, states: list[dict[str, Any]]) -> None:
        """Restore the states of a checkpoint."""
        for (optimizer, _), state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict(state)


def _rate(share: float) -> float:
    """Return the learning-rate scale: a short warm-up, then cosine decay."""
    warm = min(1.0, share / 0.01 + 0.05)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def _loss(model: Callable[..., Any], batch: Batch, other_weight: float) -> tuple[torch.Tensor, float]:
    """Return the weighted loss, and the loss on the answers alone."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(batch.tokens, attention_mask=batch.mask, use_cache=False).logits
    losses = F.cross_entropy(
        logits.float().flatten(0, 1), batch.targets.flatten(), reduction="none", ignore_index=-100
    ).view_as(batch.targets)
    counted = batch.targets != -100
    weights = torch.where(batch.answers, 1.0, other_weight) * counted
    answers = losses.detach()[batch.answers & counted].mean()
    return (losses * weights).sum() / weights.sum(), float(answers)


def save_model(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the model in bf16 with its tokenizer; each file is replaced in one step."""
    from transformers import GenerationConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        staging = Path(temporary)
        save_tokenizer(tokenizer, staging)
        copy = LlamaForCausalLM(model.config)
        copy.load_state_dict(model.state_dict())
        copy.bfloat16()
        copy.config.dtype = torch.bfloat16
        end, pad = token_id(tokenizer, END), token_id(tokenizer, PAD)
        copy.generation_config = GenerationConfig(do_sample=False, eos_token_id=[end, pad], pad_token_id=pad)
        copy.save_pretrained(staging)
        for path in staging.iterdir():
            path.chmod(0o644)
            path.replace(folder / path.name)


def plot_losses(losses: list[tuple[int, float]], path: Path) -> None:
    """Draw the loss on the answers over the tokens."""
    from matplotlib.figure import Figure

    window = max(1, len(losses) // 200)
    smooth = [
        sum(loss for _, loss in losses[max(0, i - window) : i + 1]) / (i + 1 - max(0, i - window))
        for i in range(len(losses))
    ]
    figure = Figure(figsize=(7, 4), layout="tight")
    axes = figure.subplots()
    axes.plot([tokens / 1e6 for tokens, _ in losses], smooth)
    axes.set(xlabel="million tokens", ylabel="loss on answers (nats per token)", yscale="log")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


class Trainer:
    """One training run, from nothing or from its checkpoint."""

    def __init__(self, plan: Plan) -> None:
        plan.output.mkdir(parents=True, exist_ok=True)
        self._plan = plan
        self._tokenizer = self._load_tokenizer()
        self._corpus = Corpus(self._tokenizer, plan.seed)
        self._model = build_model(self._tokenizer, plan.seed)
        self._forward = torch.compile(self._model, dynamic=False) if plan.compiled else self._model
        self._optimizers = Optimizers(self._model)
        self._progress = Progress()
        self._resume()

    def _load_tokenizer(self) -> Tokenizer:
        path = self._plan.output / "tokenizer.json"
        if not path.exists():
            save_tokenizer(build_tokenizer(self._plan.seed), self._plan.output)
        return Tokenizer.from_file(str(path))

    def _resume(self) -> None:
        path = self._plan.output / _CHECKPOINT
        if not path.exists():
            return
        saved = torch.load(path, weights_only=True)
        self._model.load_state_dict(saved["model"])
        self._optimizers.load(saved["optimizers"])
        self._progress = Progress(**saved["progress"])
        _logger.info("continuing after step %d", self._progress.step)

    def _save(self) -> None:
        state = {
            "model": self._model.state_dict(),
            "optimizers": self._optimizers.state(),
            "progress": vars(self._progress),
        }
        path = self._plan.output / _CHECKPOINT
        torch.save(state, path.with_suffix(".new"))
        shutil.move(path.with_suffix(".new"), path)
        save_model(self._model, self._tokenizer, self._plan.output)
        recent = [loss for _, loss in self._progress.losses[-50:]]
        _logger.info(
            "%.0f %%, %.2f M tokens, loss on answers %.3f",
            100 * self._progress.share(self._plan),
            self._progress.tokens / 1e6,
            sum(recent) / len(recent),
        )

    def run(self) -> None:
        """Train until the plan is fulfilled."""
        progress, plan = self._progress, self._plan
        saved = started = time.monotonic() - progress.seconds
        columns = (BarColumn(), TextColumn("{task.percentage:.0f} %  {task.description}"), TimeRemainingColumn())
        with ProgressBar(*columns, refresh_per_second=0.5) as bar:
            task = bar.add_task("", total=1.0)
            while (share := progress.share(plan)) < 1:
                loss = self._step(share)
                progress.seconds = time.monotonic() - started
                progress.losses.append((progress.tokens, loss))
                text = f"{progress.tokens / 1e6:.2f} M tokens, loss on answers {loss:.3f}"
                bar.update(task, completed=progress.share(plan), description=text)
                if time.monotonic() - saved > 60 * plan.save_every:
                    self._save()
                    saved = time.monotonic()
        self._save()
        self._report()

    def _step(self, share: float) -> float:
        weights = next(weights for until, weights in _STAGES if share < until)
        step = self._progress.step
        length, rows = Random(f"shape {self._plan.seed}/{step}").choices(_SHAPES, weights)[0]
        drills = 0.5 if share < 0.12 else 0.2 if share < 0.35 else 0.06
        batch = self._corpus.batch(step, rows, length, drills)
        loss, answers = _loss(self._forward, batch, 1.0 if share < 0.15 else 0.3 if share < 0.5 else 0.15)
        loss.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizers.step(_rate(share))
        self._progress.step += 1
        self._progress.tokens += batch.tokens.numel()
        return answers

    def _report(self) -> None:
        progress = self._progress
        plot_losses(progress.losses, self._plan.output / "loss.png")
        report = {
            "steps": progress.step,
            "tokens": progress.tokens,
            "minutes": round(progress.seconds / 60, 1),
            "parameters": sum(p.numel() for p in self._model.parameters()),
            "seed": self._plan.seed,
        }
        (self._plan.output / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        _logger.info("%s", report)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description="Train the starter model from scratch.")
    parser.add_argument("--output", type=Path, required=True, help="folder for model and checkpoint")
    parser.add_argument("--minutes", type=float, help="wall-clock limit")
    parser.add_argument("--tokens", type=int, help="token limit; makes a run reproducible")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="let torch compile the model")
    arguments = parser.parse_args()
    if (arguments.minutes is None) == (arguments.tokens is None):
        parser.error("give either --minutes or --tokens")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plan = Plan(arguments.output, arguments.minutes, arguments.tokens, arguments.seed, arguments.compile)
    Trainer(plan).run()


if __name__ == "__main__":
    main()
