"""Packed linears of the torch backend."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from vllm_local.kernels.interface import Activation

_ROWS_HINT = 16
"""Batch size that oneDNN is told to expect; one layout serves every batch size equally fast."""

_FEW_ROWS = 64
"""Up to here a step waits for the weights, not for the multiply-adds, and more rows cost next to nothing."""


@dataclass(frozen=True, slots=True)
class PlainLinear:
    """Weights as rows, for `F.linear`.

    Attributes:
        weight: [out features, in features].
        bias: [out features], or None.
        activation: What `activated_linear` applies, or None.
        gated: The outputs are gate and up, side by side.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    activation: Activation | None = None
    gated: bool = False

    @property
    def in_features(self) -> int:
        """Numbers in an input row."""
        return self.weight.shape[1]

    @property
    def out_features(self) -> int:
        """Numbers in an output row."""
        return self.weight.shape[0]

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns rows [T, in features] times the weights, plus the bias."""
        return F.linear(rows, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class OneDnnLinear:
    """Weights in oneDNN's blocked layout.

    On the CPU this is up to ten times as fast as `F.linear` at 4 to 32 rows in bf16, and two to three times in float32.
    For every number of rows that oneDNN sees, it writes a program of half a megabyte and keeps it. So it sees few of
    them (`rounded_rows`): else a server would grow by gigabytes, and each new length of a prompt would wait for one.

    Attributes:
        packed: oneDNN's opaque tensor.
        in_features: Numbers in an input row.
        out_features: Numbers in an output row.
        bias: [out features], or None.
        activation: What `activated_linear` applies, or None.
        gated: The outputs are gate and up, side by side.
    """

    packed: torch.Tensor
    in_features: int
    out_features: int
    bias: torch.Tensor | None
    activation: Activation | None = None
    gated: bool = False

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns rows [T, in features] times the weights, plus the bias."""
        num_rows = rows.shape[0]
        missing = rounded_rows(num_rows) - num_rows
        padded = F.pad(rows, (0, 0, 0, missing)) if missing else rows
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(padded, self.packed, self.bias, "none", [], "")  # noqa: SLF001
        return result[:num_rows] if missing else result


def rounded_rows(num_rows: int) -> int:
    """Returns the next number of rows of which there are four between two powers of two, or eight for many rows.

    Example:
        >>> [rounded_rows(number) for number in (3, 9, 33, 67, 500)]
        [3, 10, 40, 72, 512]
    """
    power = 1 << max(num_rows - 1, 0).bit_length() >> 1
    step = max(1, power // (4 if num_rows <= _FEW_ROWS else 8))
    return -(-num_rows // step) * step


TorchLinear = PlainLinear | OneDnnLinear
"""Either packed linear of this backend."""


def make_linear(
    weight: torch.Tensor, bias: torch.Tensor | None, *, activation: Activation | None = None, gated: bool = False
) -> TorchLinear:
    """Packs a weight [out features, in features] that is on its device and in its dtype already."""
    if not _suits_onednn(weight):
        return PlainLinear(weight, bias, activation, gated)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS_HINT)  # noqa: SLF001
    out_features, in_features = weight.shape
    return OneDnnLinear(packed, in_features, out_features, bias, activation, gated)


def _suits_onednn(weight: torch.Tensor) -> bool:
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001
    # Measured on x86 only; elsewhere `F.linear` has the platform's own library behind it.
    return weight.dtype == torch.float32 and platform.machine().lower() in {"x86_64", "amd64"}
