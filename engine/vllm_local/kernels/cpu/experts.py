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


class GroupedLinearArguments(ctypes.Structure):
    """`GroupedLinearArguments` of native/api.h."""

    _fields_ = (
        ("input", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("group_starts", ctypes.c_void_p),
        ("num_groups", ctypes.c_int64),
        ("in_features", ctypes.c_int64),
        ("out_features", ctypes.c_int64),
        ("weight_dtype", ctypes.c_int32),
        ("input_dtype", ctypes.c_int32),
        ("output_dtype", ctypes.c_int32),
        ("activation", ctypes.c_int32),
        ("gated", ctypes.c_int32),
    )


class CombineArguments(ctypes.Structure):
    """`CombineArguments` of native/api.h."""

    _fields_ = (
        ("residual", ctypes.c_void_p),
        ("results", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("places", ctypes.c_void_p),
        ("num_rows", ctypes.c_int64),
        ("size", ctypes.c_int64),
        ("top_k", ctypes.c_int64),
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
        self, library: NativeLibrary, ups: Sequence[NativeLinear], downs: Sequence[NativeLinear], dtype: torch.dtype
    ) -> None:
        """Keeps the weights.

        Args:
            library: The native library.
            ups: Every expert's gate and up, with activation.
            downs: Every expert's second half.
            dtype: The weights' dtype.
        """
        self._up = _GroupedLinear(library, ups, dtype, gated=True)
        self._down = _GroupedLinear(library, downs, dtype, gated=False)
        self._combine = library.function("combine")

    def add_to(self, residual: torch.Tensor, rows: torch.Tensor, routes: NativeRoutes) -> None:
        """Adds the weighed sum of each row's experts to the residual stream [T, H] (float32) in place."""
        inputs = rows.index_select(0, routes.rows)
        hidden = self._up(inputs, routes.group_starts, rows.dtype)
        results = self._down(hidden, routes.group_starts, torch.float32)
        num_rows, top_k = routes.weights.shape
        arguments = CombineArguments(
            residual=residual.data_ptr(),
            results=results.data_ptr(),
            weights=routes.weights.data_ptr(),
            places=routes.places.data_ptr(),
            num_rows=num_rows,
            size=residual.shape[1],
            top_k=top_k,
        )
        self._combine(ctypes.byref(arguments))


class _GroupedLinear:
    """Linears of one shape, each for a group of rows."""

    def __init__(
        self, library: NativeLibrary, linears: Sequence[NativeLinear], dtype: torch.dtype, *, gated: bool
    ) -> None:
        self._dtype = dtype
        self._function = library.function("grouped_linear")
        self._linears = linears
        self._weights = torch.tensor([linear.address for linear in linears], dtype=torch.int64)
        self._gated = gated
        self._num_results = linears[0].out_features // (2 if gated else 1)

    def __call__(self, rows: torch.Tensor, group_starts: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Returns the results of rows that are sorted by group, in a dtype."""
        results = torch.empty((len(rows), self._num_results), dtype=dtype)
        linear = self._linears[0]
        arguments = GroupedLinearArguments(
            input=rows.data_ptr(),
            output=results.data_ptr(),
            weights=self._weights.data_ptr(),
            group_starts=group_starts.data_ptr(),
            num_groups=len(self._linears),
            in_features=linear.in_features,
            out_features=linear.out_features,
            weight_dtype=dtype_code(self._dtype),
            input_dtype=dtype_code(rows.dtype),
            output_dtype=dtype_code(dtype),
            activation=ACTIVATIONS[linear.activation],
            gated=self._gated,
        )
        self._function(ctypes.byref(arguments))
        return results
