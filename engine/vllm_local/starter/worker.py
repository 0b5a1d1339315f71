"""One of the processes that train together: each takes some of a step's batches, and updates some of the weights.

Two processes with a thread each are a third faster than one with two threads: the operations are small. Weights and
gradients lie in shared memory; a process computes the gradient of its batches, waits for the others, updates the
weights that it owns with the sum of all gradients, and waits again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

import torch
from torch import Tensor, nn

from vllm_local.starter.corpus import Batch, Packed
from vllm_local.starter.muon import Muon
from vllm_local.starter.network import Network

_MATRIX_RATE, _OTHER_RATE = 0.015, 2.5e-3


@dataclass(frozen=True)
class Shared:
    """What the processes have in common; ``N`` weights, ``P`` processes.

    Attributes:
        weights: [N] the weights in fp32.
        gradients: [P, N] each process's gradient.
        losses: [P, 2] sum and number of each process's losses on answers.
        tokens: [P] each process's tokens of the step that could have a loss, in the processor's memory.
        control: [2] numbers of the first process: share of the run that is done, seconds since the last checkpoint.
        barrier: Where they wait for each other.
    """

    weights: Tensor
    gradients: Tensor
    losses: Tensor
    tokens: Tensor
    control: Tensor
    barrier: Barrier

    @staticmethod
    def create(num_weights: int, processes: int, barrier: Barrier, device: torch.device) -> Shared:
        """Make the tensors: all but the last two on the device, and in shared memory where that is the processor's."""
        sizes = ((num_weights,), (processes, num_weights), (processes, 2))
        weights, gradients, losses = (torch.zeros(size, device=device).share_memory_() for size in sizes)
        tokens = torch.zeros(processes, dtype=torch.long).share_memory_()
        return Shared(weights, gradients, losses, tokens, torch.zeros(2).share_memory_(), barrier)


class Worker:
    """One process's part of a step.

    Args:
        rank: Which of the processes this is.
        shared: What they have in common.
        network: A network of this process; its weights are overwritten by the shared ones.
    """

    def __init__(self, rank: int, shared: Shared, network: Network) -> None:
        self._rank = rank
        self._shared = shared
        self._network = network.to(shared.weights.device)
        self._processes = len(shared.gradients)
        self._own: dict[str, nn.Parameter] = {}
        self._slices: dict[str, slice] = {}
        self._own_slices: dict[str, slice] = {}
        start = 0
        for name, parameter in network.named_parameters():
            self._slices[name] = slice(start, start + parameter.numel())
            start += parameter.numel()
            if _owner(name, self._processes) == rank:
                self._take(name, parameter)
        matrices = [p for name, p in self._own.items() if p.ndim == 2 and name != "embed"]
        others = [p for name, p in self._own.items() if p.ndim != 2 or name == "embed"]
        self._optimizers: list[tuple[torch.optim.Optimizer, float]] = []
        if matrices:
            muon = Muon(matrices, lr=_MATRIX_RATE, dtype=network.embed.dtype)
            self._optimizers.append((muon, _MATRIX_RATE))
        if others:
            adam = torch.optim.AdamW(others, lr=_OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.0)
            self._optimizers.append((adam, _OTHER_RATE))
        self.refresh()

    def _take(self, name: str, parameter: Tensor) -> None:
        """Make a parameter this process's own to update: the matrices that lie side by side in it each on its own."""
        start, rows = self._slices[name].start, self._network.matrix_rows(name)
        columns = parameter.numel() // sum(rows)
        for index, number in enumerate(rows):
            own = f"{name}/{index}" if len(rows) > 1 else name
            self._own_slices[own] = slice(start, start + number * columns)
            shape = (number, *parameter.shape[1:])
            self._own[own] = nn.Parameter(self._shared.weights[self._own_slices[own]].view(shape))
            start += number * columns

    def refresh(self) -> None:
        """Take over the shared weights."""
        with torch.no_grad():
            for name, parameter in self._network.named_parameters():
                parameter.copy_(self._shared.weights[self._slices[name]].view_as(parameter))

    def step(self, batches: list[Batch], counted: list[Tensor], rate: float) -> None:
        """Make one training step together with the other processes.

        Args:
            batches: This process's batches of the step.
            counted: For each batch the positions that count, [B, T].
            rate: Scale of the learning rates.
        """
        self._compute_gradient(batches, counted)
        self._shared.barrier.wait()
        self._update(rate)
        self._shared.barrier.wait()
        self.refresh()

    def answer_losses(self, batches: Sequence[Batch]) -> list[float]:
        """Return for each row of the batches, one after the other, the sum of the loss on its answers, nats."""
        device = self._shared.weights.device
        sums = []
        with torch.no_grad():
            for batch in batches:
                counted = batch.answers & (batch.targets != -100)
                packed = Packed.of([batch], [counted], device)
                rows = packed.counted // batch.tokens.shape[1]
                zeros = torch.zeros(len(batch.tokens), device=device)
                sums.append(zeros.index_add(0, rows, self._network.losses(packed)))
        losses: list[float] = torch.cat(sums).tolist()
        return losses

    def weights(self) -> dict[str, Tensor]:
        """Return the shared weights by their names, in fp32."""
        shapes = {name: parameter.shape for name, parameter in self._network.named_parameters()}
        return {name: self._shared.weights[part].view(shapes[name]) for name, part in self._slices.items()}

    def optimizer_state(self) -> dict[str, dict[str, Any]]:
        """Return the optimizers' state by the weights' names, for a checkpoint."""
        states = {id(p): state for optimizer, _ in self._optimizers for p, state in optimizer.state.items()}
        return {name: states[id(p)] for name, p in self._own.items() if id(p) in states}

    def restore(self, states: dict[str, dict[str, Any]]) -> None:
        """Take this process's part of a checkpoint's optimizer states."""
        for optimizer, _ in self._optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    name = next(name for name, own in self._own.items() if own is parameter)
                    if name in states:
                        optimizer.state[parameter] = states[name]

    def _compute_gradient(self, batches: Sequence[Batch], counted: Sequence[Tensor]) -> None:
        """Compute this process's share of the gradient: of the mean of the processes' mean losses."""
        self._shared.tokens[self._rank] = sum(int((batch.targets != -100).sum()) for batch in batches)
        total = sum(int(positions.sum()) for positions in counted) * self._processes
        answers = torch.zeros_like(self._shared.losses[self._rank])
        self._network.zero_grad(set_to_none=True)
        # A processor's caches hold one batch; a GPU is idle with less than all.
        size = 1 if answers.is_cpu else len(batches)
        for start in range(0, len(batches), size):
            part = slice(start, start + size)
            packed = Packed.of(batches[part], counted[part], answers.device)
            losses = self._network.losses(packed)
            (losses.sum() / total).backward()
            answers += torch.stack(((losses.detach() * packed.answers).sum(), packed.answers.sum()))
        gradient = self._shared.gradients[self._rank]
        for name, parameter in self._network.named_parameters():
            if parameter.grad is None:
                gradient[self._slices[name]].zero_()
            else:
                gradient[self._slices[name]].copy_(parameter.grad.flatten())
        self._shared.losses[self._rank] = answers

    def _update(self, rate: float) -> None:
        gradient = self._shared.gradients.sum(0)
        gradient *= (1.0 / (gradient.norm() + 1e-6)).clamp(max=1.0)
        for name, parameter in self._own.items():
            parameter.grad = gradient[self._own_slices[name]].view_as(parameter)
        for optimizer, base in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = base * rate
            optimizer.step()


def _owner(name: str, processes: int) -> int:
    """Return the process that updates a weight: whole layers in turn, and the rest where there is least to do."""
    layer = name.rpartition(".")[2]
    return int(layer) % processes if layer.isdigit() else processes - 1
