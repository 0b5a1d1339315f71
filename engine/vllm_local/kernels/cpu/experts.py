"""Mixtures of experts by the native library."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vllm_local.kernels.cpu.library import NativeLibrary, dtype_code
from vllm_local.kernels.cpu.linear import ACTIVATIONS, NativeLinear


class RouteArguments(ctypes.Structure):
    """`RouteArguments` of native/api.h."""

    _fields_ = (
        ("logits", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("experts", ctypes.c_void_p),
        ("places", ctypes.c_void_p),
        ("rows", ctypes.c_void_p),
        ("group_starts", ctypes.c_void_p),
        ("num_rows", ctypes.c_int64),
        ("num_experts", ctypes.c_int64),
        ("top_k", ctypes.c_int64),
        ("normalises", ctypes.c_int32),
    )


class ExpertsArguments(ctypes.Structure):
    """`ExpertsArguments` of native/api.h."""

    _fields_ = (
        ("input", ctypes.c_void_p),
        ("residual", ctypes.c_void_p),
        ("gated", ctypes.c_void_p),
        ("down", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("places", ctypes.c_void_p),
        ("rows", ctypes.c_void_p),
        ("group_starts", ctypes.c_void_p),
        ("gathered", ctypes.c_void_p),
        ("inner", ctypes.c_void_p),
        ("results", ctypes.c_void_p),
        ("num_rows", ctypes.c_int64),
        ("num_experts", ctypes.c_int64),
        ("top_k", ctypes.c_int64),
        ("hidden_size", ctypes.c_int64),
        ("intermediate_size", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
        ("activation", ctypes.c_int32),
    )


@dataclass(frozen=True, slots=True)
class NativeRoutes:
    """Which experts rows go to.

    Attributes:
        experts: [T, K] int32, those with the largest logits, the largest first.
        weights: [T, K] float32.
        places: [T, K] int32, where each choice stands among all, sorted by expert.
        rows: [T · K] int64, whose choice stands there.
        group_starts: [E + 1] int32, where each expert's begin.
    """

    experts: torch.Tensor
    weights: torch.Tensor
    places: torch.Tensor
    rows: torch.Tensor
    group_starts: torch.Tensor


class NativeRouter:
    """Chooses experts (Shazeer et al., 2017, https://arxiv.org/abs/1701.06538)."""

    def __init__(self, library: NativeLibrary, linear: NativeLinear, top_k: int, normalises: bool) -> None:
        """Keeps the weights.

        Args:
            library: The native library.
            linear: From rows to the experts' logits.
            top_k: Experts a row.
            normalises: The weights are the softmax over the largest logits; else that over all.
        """
        self._route = library.function("route")
        self._linear = linear
        self._top_k = top_k
        self._normalises = normalises

    def __call__(self, rows: torch.Tensor) -> NativeRoutes:
        """Routes rows [T, H]."""
        num_rows, num_experts = len(rows), self._linear.out_features
        logits = self._linear(rows, torch.float32)
        shape = (num_rows, self._top_k)
        routes = NativeRoutes(
            experts=torch.empty(shape, dtype=torch.int32),
            weights=torch.empty(shape),
            places=torch.empty(shape, dtype=torch.int32),
            rows=torch.empty(num_rows * self._top_k, dtype=torch.int64),
            group_starts=torch.empty(num_experts + 1, dtype=torch.int32),
        )
        arguments = RouteArguments(
            logits=logits.data_ptr(),
            weights=routes.weights.data_ptr(),
            experts=routes.experts.data_ptr(),
            places=routes.places.data_ptr(),
            rows=routes.rows.data_ptr(),
            group_starts=routes.group_starts.data_ptr(),
            num_rows=num_rows,
            num_experts=num_experts,
            top_k=self._top_k,
            normalises=self._normalises,
        )
        self._route(ctypes.byref(arguments))
        return routes


class NativeExperts:
    """All experts of a mixture."""

    def __init__(
        self, library: NativeLibrary, gated: Sequence[NativeLinear], down: Sequence[NativeLinear], dtype: torch.dtype
    ) -> None:
        """Keeps the weights.

        Args:
            library: The native library.
            gated: Every expert's gate and up, with activation.
            down: Every expert's second half.
            dtype: The model's dtype.
        """
        self._experts = library.function("experts")
        self._linears = gated, down
        self._addresses = [torch.tensor([linear.address for linear in half]) for half in self._linears]
        self._dtype = dtype

    def add_to(self, residual: torch.Tensor, rows: torch.Tensor, routes: NativeRoutes) -> None:
        """Adds the weighed sum of each row's experts to the residual stream [T, H] (float32) in place."""
        gated, down = self._addresses
        first, second = (half[0] for half in self._linears)
        num_rows, top_k = routes.weights.shape
        gathered = torch.empty((num_rows * top_k, first.in_features), dtype=self._dtype)
        inner = torch.empty((num_rows * top_k, second.in_features), dtype=self._dtype)
        results = torch.empty((num_rows * top_k, second.out_features))
        arguments = ExpertsArguments(
            input=rows.data_ptr(),
            residual=residual.data_ptr(),
            gated=gated.data_ptr(),
            down=down.data_ptr(),
            weights=routes.weights.data_ptr(),
            places=routes.places.data_ptr(),
            rows=routes.rows.data_ptr(),
            group_starts=routes.group_starts.data_ptr(),
            gathered=gathered.data_ptr(),
            inner=inner.data_ptr(),
            results=results.data_ptr(),
            num_rows=num_rows,
            num_experts=len(gated),
            top_k=top_k,
            hidden_size=second.out_features,
            intermediate_size=second.in_features,
            dtype=dtype_code(self._dtype),
            activation=ACTIVATIONS[first.activation],
        )
        self._experts(ctypes.byref(arguments))
