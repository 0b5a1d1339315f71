"""Training the starter model: ``python -m vllm_local.starter.train --output DIR --minutes 115``.

The recipe: copy drills first, the loss on every token at first and mostly on the answers later, longer
conversations as training goes on, Muon on the matrices and AdamW on the rest, cosine decay. A run is seeded, and
continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from vllm_local.starter.corpus import Batch, Corpus, Mixture
from vllm_local.starter.tokenizer import END, MAX_LENGTH, PAD, build_tokenizer, save_tokenizer, token_id

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

_logger = logging.getLogger(__name__)
_BATCH_TOKENS = 8192
# Until this share of the run: how often conversations may take so many tokens, share of drills, share of other text.
_STAGES = (
    (0.12, Mixture(((256, 80), (512, 20)), drills=0.5), 1.0),
    (0.35, Mixture(((256, 62), (512, 26), (1024, 12)), drills=0.2), 0.3),
    (0.7, Mixture(((256, 60), (512, 25), (1024, 13), (2304, 2)), drills=0.08), 0.15),
    (1.01, Mixture(((256, 59), (512, 25), (1024, 12), (2304, 4)), drills=0.05), 0.1),
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
        save_every: Minutes between checkpoints.
    """

    output: Path
    minutes: float | None
    tokens: int | None
    seed: int = 0
    save_every: float = 4.0


@dataclass
class Progress:
    """Where a run stands; saved with the checkpoint, which is written between blocks of batches."""

    block: int = 0
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


def _loss(model: LlamaForCausalLM, batch: Batch, others: Tensor) -> tuple[Tensor, float]:
    """Return the mean loss over the answers and the chosen other tokens, and the mean over the answers alone."""
    counted = (batch.targets != -100) & (batch.answers | others)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(batch.tokens, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[counted])
    losses = F.cross_entropy(logits.float(), batch.targets[counted], reduction="none")
    return losses.mean(), float(losses.detach()[batch.answers[counted]].mean())


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
        self._corpus = Corpus(self._tokenizer, plan.seed, _BATCH_TOKENS)
        self._model = build_model(self._tokenizer, plan.seed)
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
            while progress.share(plan) < 1:
                self._block(started, bar, task)
                if time.monotonic() - saved > 60 * plan.save_every:
                    self._save()
                    saved = time.monotonic()
        self._save()
        self._report()

    def _block(self, started: float, bar: ProgressBar, task: TaskID) -> None:
        """Train on one block, or on its start if the run ends there."""
        progress, plan = self._progress, self._plan
        _, mixture, other_share = next(stage for stage in _STAGES if progress.share(plan) < stage[0])
        for batch in self._corpus.block(progress.block, mixture):
            if (share := progress.share(plan)) >= 1:
                return
            loss = self._step(batch, share, other_share)
            progress.step += 1
            progress.tokens += int((batch.targets != -100).sum())
            progress.seconds = time.monotonic() - started
            progress.losses.append((progress.tokens, loss))
            text = f"{progress.tokens / 1e6:.2f} M tokens, loss on answers {loss:.3f}"
            bar.update(task, completed=progress.share(plan), description=text)
        progress.block += 1

    def _step(self, batch: Batch, share: float, other_share: float) -> float:
        chosen = torch.Generator().manual_seed(self._plan.seed + self._progress.step)
        others = torch.rand(batch.tokens.shape, generator=chosen) < other_share
        loss, answers = _loss(self._model, batch, others)
        loss.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizers.step(_rate(share))
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
    arguments = parser.parse_args()
    if (arguments.minutes is None) == (arguments.tokens is None):
        parser.error("give either --minutes or --tokens")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plan = Plan(arguments.output, arguments.minutes, arguments.tokens, arguments.seed)
    Trainer(plan).run()


if __name__ == "__main__":
    main()
