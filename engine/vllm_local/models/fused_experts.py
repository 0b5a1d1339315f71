"""Reads a checkpoint that holds each layer's experts in one tensor as if every expert had its own, as on the hub.

transformers computes with fused tensors; `save_pretrained` takes them apart again unless it is told to leave them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vllm_local.models.checkpoint import Checkpoint, TensorInfo
from vllm_local.models.model_config import MixtureSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class _Part:
    """Where a tensor lies in a fused one.

    Attributes:
        source: The fused tensor.
        expert: Index of its expert, or None: it is the whole.
        half: 0 or 1 for the first or second half of the expert's rows, or None: it is all of them.
    """

    source: str
    expert: int | None = None
    half: int | None = None

    def shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        if self.expert is None:
            return whole
        return whole[1:] if self.half is None else (whole[1] // 2, *whole[2:])

    def cut(self, whole: torch.Tensor) -> torch.Tensor:
        if self.expert is None:
            return whole
        return whole[self.expert] if self.half is None else whole[self.expert].chunk(2)[self.half]


class UnfusedCheckpoint:
    """A checkpoint whose fused experts are read one by one.

    Attributes:
        tensors: Every tensor by name; each expert's parts in place of the fused ones.
    """

    def __init__(self, checkpoint: Checkpoint, parts: Mapping[str, _Part]) -> None:
        self._checkpoint = checkpoint
        self._parts = parts
        sources = {part.source for part in parts.values()}
        self.tensors = {name: info for name, info in checkpoint.tensors.items() if name not in sources}
        for name, part in parts.items():
            info = checkpoint.tensors[part.source]
            self.tensors[name] = replace(info, shape=part.shape(info.shape))

    def read(self, name: str) -> torch.Tensor:
        """Returns a tensor, or its part of a fused one."""
        part = self._parts.get(name)
        return self._checkpoint.read(name) if part is None else part.cut(self._checkpoint.read(part.source))

    def close(self) -> None:
        """Closes the files."""
        self._checkpoint.close()


def unfuse_experts(checkpoint: Checkpoint, mixture: MixtureSpec | None) -> Checkpoint:
    """Returns the checkpoint itself, or a view of it where it holds fused experts."""
    if mixture is None:
        return checkpoint
    parts = {
        name: part
        for layer in sorted(mixture.layers)
        for name, part in _parts_of_layer(mixture, layer)
        if _holds(checkpoint.tensors, part, mixture.num_experts)
    }
    return UnfusedCheckpoint(checkpoint, parts) if parts else checkpoint


def _holds(tensors: Mapping[str, TensorInfo], part: _Part, num_experts: int) -> bool:
    # A fused tensor of another shape is left alone, so that what is missing is named.
    info = tensors.get(part.source)
    return info is not None and (part.expert is None or (len(info.shape) == 3 and info.shape[0] == num_experts))


def _parts_of_layer(mixture: MixtureSpec, layer: int) -> Iterator[tuple[str, _Part]]:
    names = mixture.names
    ups, downs = (name.format(layer) for name in names.fused)
    if names.fused_router != names.router:
        yield f"{names.router.format(layer)}.weight", _Part(f"{names.fused_router.format(layer)}.weight")
    for expert in range(mixture.num_experts):
        yield f"{names.gate.format(layer, expert)}.weight", _Part(ups, expert, 0)
        yield f"{names.up.format(layer, expert)}.weight", _Part(ups, expert, 1)
        yield f"{names.down.format(layer, expert)}.weight", _Part(downs, expert)
