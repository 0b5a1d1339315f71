"""One layer's attention by the native library."""

from __future__ import annotations

import ctypes

import torch

from vllm_local.errors import UnsupportedModelError
from vllm_local.kernels.cpu.kv_cache import NativeKVCache
from vllm_local.kernels.cpu.rotation import RotationTable
from vllm_local.kernels.cpu.step import NativeStep
from vllm_local.kernels.interface import AttentionSpec

MAX_HEAD_SIZE = 1024
"""VLLM_LOCAL_MAX_HEAD_SIZE of native/api.h."""


class LayerStructure(ctypes.Structure):
    """`AttentionLayer` of native/api.h."""

    _fields_ = (
        ("num_heads", ctypes.c_int64),
        ("num_kv_heads", ctypes.c_int64),
        ("sliding_window", ctypes.c_int64),
        ("head_size", ctypes.c_int32),
        ("softmax_scale", ctypes.c_float),
        ("logit_softcap", ctypes.c_float),
        ("qkv_clip", ctypes.c_float),
        ("norm_eps", ctypes.c_float),
        ("alibi_slopes", ctypes.c_void_p),
        ("q_norm", ctypes.c_void_p),
        ("k_norm", ctypes.c_void_p),
        ("rotation", ctypes.c_void_p),
    )


class RotateArguments(ctypes.Structure):
    """`RotateArguments` of native/api.h."""

    _fields_ = (
        ("layer", ctypes.c_void_p),
        ("step", ctypes.c_void_p),
        ("cache", ctypes.c_void_p),
        ("qkv", ctypes.c_void_p),
    )


class AttendArguments(ctypes.Structure):
    """`AttendArguments` of native/api.h."""

    _fields_ = (
        ("layer", ctypes.c_void_p),
        ("step", ctypes.c_void_p),
        ("cache", ctypes.c_void_p),
        ("qkv", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
    )


class NativeAttention:
    """One layer's attention.

    Attributes:
        spec: Its numbers.
        out_features: Numbers in a row of results, Hq · D.
    """

    __slots__ = ("_address", "_layer", "_tensors", "out_features", "spec")

    def __init__(
        self,
        spec: AttentionSpec,
        *,
        rotation: RotationTable | None = None,
        q_norm: torch.Tensor | None = None,
        k_norm: torch.Tensor | None = None,
        norm_eps: float = 1e-6,
    ) -> None:
        """Puts the numbers where the library finds them.

        Args:
            spec: The layer's numbers.
            rotation: The spec's rotary embedding, if it has one.
            q_norm: [D] float32, or None.
            k_norm: [D] float32, or None.
            norm_eps: Those norms'.

        Raises:
            UnsupportedModelError: Heads are larger than the library allows.
        """
        if spec.head_size > MAX_HEAD_SIZE:
            message = f"Heads of {spec.head_size} numbers are too large here: {MAX_HEAD_SIZE} at most."
            raise UnsupportedModelError(message)
        slopes = None if spec.alibi_slopes is None else torch.tensor(spec.alibi_slopes, dtype=torch.float32)
        self.spec = spec
        self.out_features = spec.num_heads * spec.head_size
        self._tensors = (slopes, q_norm, k_norm, rotation)
        self._layer = LayerStructure(
            num_heads=spec.num_heads,
            num_kv_heads=spec.num_kv_heads,
            sliding_window=spec.sliding_window or 0,
            head_size=spec.head_size,
            softmax_scale=spec.softmax_scale,
            qkv_clip=spec.qkv_clip or 0.0,
            norm_eps=norm_eps,
            alibi_slopes=_address(slopes),
            q_norm=_address(q_norm),
            k_norm=_address(k_norm),
            rotation=None if rotation is None else rotation.address,
        )
        self._address = ctypes.addressof(self._layer)

    def rotate_arguments(self, qkv: torch.Tensor, step: NativeStep, kv_cache: NativeKVCache) -> RotateArguments:
        """Returns the arguments of a call that rotates Q of [T, (Hq + 2 Hkv) · D] in place, and writes K and V."""
        return RotateArguments(self._address, step.address, kv_cache.address, qkv.data_ptr())

    def attend_arguments(
        self, qkv: torch.Tensor, output: torch.Tensor, step: NativeStep, kv_cache: NativeKVCache
    ) -> AttendArguments:
        """Returns the arguments of a call that attends with the Q of those rows, into an output [T, Hq · D]."""
        return AttendArguments(self._address, step.address, kv_cache.address, qkv.data_ptr(), output.data_ptr())


def _address(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
