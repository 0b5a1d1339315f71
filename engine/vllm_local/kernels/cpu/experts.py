"""Mixtures of experts by the native library."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vllm_local.kernels.cpu.library import dtype_code
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
        ("input_rows", ctypes.c_void_p),
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
        rows: [T, K] int64, of which the n-th number is the row whose choice stands at place n.
        group_starts: [at least 1, E + 1] int32, whose first row says where each expert's choices begin.
    """

    experts: torch.Tensor
    weights: torch.Tensor
    places: torch.Tensor
    rows: torch.Tensor
    group_starts: torch.Tensor


@dataclass(frozen=True, slots=True)
class NativeRouter:
    """Chooses experts (Shazeer et al., 2017, https://arxiv.org/abs/1701.06538).

    Attributes:
        linear: From rows to the experts' logits.
        top_k: Experts a row.
        normalises: The weights are the softmax over the largest logits; else that over all.
    """

    linear: NativeLinear
    top_k: int
    normalises: bool

    def arguments(self, logits: torch.Tensor, routes: NativeRoutes) -> RouteArguments:
        """Returns the arguments of a call that fills the routes by logits [T, E] (float32)."""
        return RouteArguments(
            logits=logits.data_ptr(),
            weights=routes.weights.data_ptr(),
            experts=routes.experts.data_ptr(),
            places=routes.places.data_ptr(),
            rows=routes.rows.data_ptr(),
            group_starts=routes.group_starts.data_ptr(),
            num_rows=len(logits),
            num_experts=self.linear.out_features,
            top_k=self.top_k,
            normalises=self.normalises,
        )


class NativeExperts:
    """One half of all experts of a mixture: linears of one shape, each for the rows that go to its expert.

    Attributes:
        num_results: Numbers in a row of results.
    """

    __slots__ = ("_linears", "_template", "_weights", "num_results")

    def __init__(self, linears: Sequence[NativeLinear], dtype: torch.dtype) -> None:
        """Keeps the weights.

        Args:
            linears: Every expert's.
            dtype: The weights' dtype.
        """
        first = linears[0]
        self.num_results = first.num_results
        self._linears = linears
        self._weights = torch.tensor([linear.packed.data_ptr() for linear in linears], dtype=torch.int64)
        self._template = GroupedLinearArguments(
            weights=self._weights.data_ptr(),
            num_groups=len(linears),
            in_features=first.in_features,
            out_features=first.out_features,
            weight_dtype=dtype_code(dtype),
            activation=ACTIVATIONS[first.activation],
            gated=first.num_results < first.out_features,
        )

    def arguments(
        self, rows: torch.Tensor, output: torch.Tensor, routes: NativeRoutes, *, gathers: bool
    ) -> GroupedLinearArguments:
        """Returns the arguments of a call.

        Args:
            rows: [T, in features], or [T, K · in features]: one row after the other for each choice, by expert.
            output: [T, K · results], the same of results.
            routes: Where rows go.
            gathers: The rows are the former.
        """
        arguments = GroupedLinearArguments.from_buffer_copy(self._template)
        arguments.input, arguments.output = rows.data_ptr(), output.data_ptr()
        arguments.input_rows = routes.rows.data_ptr() if gathers else None
        arguments.group_starts = routes.group_starts.data_ptr()
        arguments.input_dtype, arguments.output_dtype = dtype_code(rows.dtype), dtype_code(output.dtype)
        return arguments


@dataclass(frozen=True, slots=True)
class NativeMixture:
    """All experts of a mixture.

    Attributes:
        up: Their gates and ups, with activation.
        down: Their second halves.
    """

    up: NativeExperts
    down: NativeExperts


def combine_arguments(residual: torch.Tensor, results: torch.Tensor, routes: NativeRoutes) -> CombineArguments:
    """Returns the arguments of a call that adds up each row's choices.

    Args:
        residual: [T, H] float32, which the weighed sums are added to.
        results: [T, K · H] float32, the choices' results, by expert.
        routes: Where rows went.
    """
    return CombineArguments(
        residual=residual.data_ptr(),
        results=results.data_ptr(),
        weights=routes.weights.data_ptr(),
        places=routes.places.data_ptr(),
        num_rows=len(residual),
        size=residual.shape[1],
        top_k=routes.weights.shape[1],
    )
