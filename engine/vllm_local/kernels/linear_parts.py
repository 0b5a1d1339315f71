"""Linears that read the same input, laid side by side, or one rank's share of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vllm_local.errors import InvalidConfigError
from vllm_local.kernels.interface import Split


def merge_parts(
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor] | None,
    *,
    split: Split,
    rank: int,
    world_size: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Cuts this rank's share out of every part and lays the parts side by side.

    Returns:
        Weight [out features, in features] and bias [out features] or None: tensors of their own, not views.

    Raises:
        InvalidConfigError: A size is not a multiple of world_size.
    """
    dimension = 0 if split == "output" else 1
    weight = _joined([_share(part, dimension, rank, world_size) for part in weights], device, dtype)
    if biases is None or (split == "input" and rank > 0):
        return weight, None
    ranks = (rank, world_size) if split == "output" else (0, 1)
    return weight, _joined([_share(part, 0, *ranks) for part in biases], device, dtype)


def _share(part: torch.Tensor, dimension: int, rank: int, world_size: int) -> torch.Tensor:
    size = part.shape[dimension]
    if size % world_size:
        message = f"A weight of shape {tuple(part.shape)} cannot be split over {world_size} ranks; use fewer."
        raise InvalidConfigError(message)
    length = size // world_size
    return part.narrow(dimension, rank * length, length)


def _joined(parts: Sequence[torch.Tensor], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    # Filled part by part, so that no more than one part exists twice.
    result = torch.empty((sum(len(part) for part in parts), *parts[0].shape[1:]), device=device, dtype=dtype)
    start = 0
    for part in parts:
        result[start : start + len(part)].copy_(part)
        start += len(part)
    return result
