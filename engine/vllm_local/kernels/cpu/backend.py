"""`NativeKernels`: the kernels' interface by the native library."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch

from vllm_local.config import KVCacheConfig
from vllm_local.kernels.cpu.attention import NativeAttention
from vllm_local.kernels.cpu.embedding import NativeEmbedding
from vllm_local.kernels.cpu.experts import (
    NativeExperts,
    NativeMixture,
    NativeRouter,
    NativeRoutes,
    combine_arguments,
)
from vllm_local.kernels.cpu.kv_cache import NativeKVCache
from vllm_local.kernels.cpu.library import NativeLibrary
from vllm_local.kernels.cpu.linear import NativeLinear
from vllm_local.kernels.cpu.norm import NativeNorm
from vllm_local.kernels.cpu.program import NativeProgram, Recording
from vllm_local.kernels.cpu.rotation import RotationTable
from vllm_local.kernels.cpu.step import NativeStep
from vllm_local.kernels.interface import (
    Activation,
    AttentionMetadata,
    AttentionSpec,
    ExpertWeights,
    Head,
    Network,
    NormKind,
    PackedLinear,
    Program,
    Split,
)
from vllm_local.kernels.linear_parts import merge_parts

_FUNCTIONS = ("embed", "norm", "linear", "rotate_and_cache", "attend", "route", "grouped_linear", "combine")


class NativeKernels:
    """See `vllm_local.kernels.interface.Kernels` for what the methods do.

    A request's results are the same bits alone and in any batch, at any number of threads.

    Attributes:
        device: The CPU.
        dtype: The model's dtype: of activations, packed weights, K and V.
        library: The native library.
    """

    def __init__(self, dtype: torch.dtype, library: NativeLibrary) -> None:
        self.device = torch.device("cpu")
        self.dtype = dtype
        self.library = library
        self._num_threads = library.num_threads
        self._functions = {name: library.function(name) for name in _FUNCTIONS}
        self._recording: Recording | None = None
        self._step: NativeStep | None = None
        self._rotations: dict[tuple[tuple[float, ...], float], RotationTable] = {}

    @property
    def description(self) -> str:
        """Names the instruction set."""
        return f"native kernels, {self.library.isa}"

    def set_num_threads(self, num_threads: int) -> None:
        """Sets on how many threads of the process's one pool steps compute; torch keeps to the caller's own."""
        torch.set_num_threads(1)
        self._num_threads = num_threads

    def pack_linear(
        self,
        weights: Sequence[torch.Tensor],
        biases: Sequence[torch.Tensor] | None = None,
        *,
        split: Split = "output",
        rank: int = 0,
        world_size: int = 1,
    ) -> PackedLinear:
        """Merges the parts and packs them into panels."""
        weight, bias = self._merge(weights, biases, split, rank, world_size)
        return NativeLinear(self.library, weight, bias)

    def pack_activated_linear(
        self,
        weights: Sequence[torch.Tensor],
        biases: Sequence[torch.Tensor] | None = None,
        *,
        activation: Activation,
        rank: int = 0,
        world_size: int = 1,
    ) -> PackedLinear:
        """Merges up, or gate and up, and packs them into panels, which hold columns of both."""
        weight, bias = self._merge(weights, biases, "output", rank, world_size)
        return NativeLinear(self.library, weight, bias, activation=activation, gated=len(weights) == 2)

    def pack_embedding(self, weight: torch.Tensor) -> NativeEmbedding:
        """Keeps the rows in the model's dtype."""
        table = weight.to(self.device, self.dtype, copy=True).contiguous()
        return NativeEmbedding(table, table.shape[1], self.dtype)

    def pack_tied_embedding(self, weight: torch.Tensor) -> tuple[NativeEmbedding, PackedLinear]:
        """Packs the rows for the head; the embedding finds them in its panels."""
        head = NativeLinear(self.library, weight.to(self.device, self.dtype).contiguous(), None)
        return NativeEmbedding(head.packed, head.in_features, self.dtype, is_packed=True), head

    def embed(self, token_ids: torch.Tensor, embedding: NativeEmbedding) -> torch.Tensor:
        """Looks up the rows and makes them float32."""
        rows = self._empty(token_ids.shape[0], embedding.size, torch.float32)
        self._call("embed", embedding.arguments(token_ids, rows))
        return rows

    def linear(self, rows: torch.Tensor, linear: PackedLinear) -> torch.Tensor:
        """Multiplies, rounds once."""
        return self._multiply(rows, linear, self.dtype)

    def activated_linear(self, rows: torch.Tensor, linear: PackedLinear) -> torch.Tensor:
        """Multiplies, activates and gates in float32, rounds once."""
        assert cast("NativeLinear", linear).activation is not None, "packed by pack_linear"
        return self._multiply(rows, linear, self.dtype)

    def linear_add(self, rows: torch.Tensor, linear: PackedLinear, residual: torch.Tensor) -> None:
        """Multiplies and adds in float32."""
        self._call("linear", cast("NativeLinear", linear).arguments(rows, residual, adds=True))

    def logits(
        self, rows: torch.Tensor, linear: PackedLinear, scale: float = 1.0, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Multiplies in float32."""
        return self._multiply(rows, linear, torch.float32, scale, out)

    def _multiply(
        self,
        rows: torch.Tensor,
        linear: PackedLinear,
        dtype: torch.dtype,
        scale: float = 1.0,
        out: torch.Tensor | None = None,
    ) -> torch.Tensor:
        packed = cast("NativeLinear", linear)
        results = self._empty(rows.shape[0], packed.num_results, dtype) if out is None else out
        self._call("linear", packed.arguments(rows, results, scale=scale))
        return results

    def as_residual(self, rows: torch.Tensor) -> torch.Tensor:
        """Copies the rows into float32."""
        return rows.to(self.device, torch.float32, copy=True).contiguous()

    def pack_norm(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, *, kind: NormKind, eps: float
    ) -> NativeNorm:
        """Keeps the weights in float32."""
        bias = None if bias is None else self._float32(bias)
        return NativeNorm(self._float32(weight), bias, eps, layer=kind == "layer")

    def norm(self, residual: torch.Tensor, norm: NativeNorm) -> torch.Tensor:
        """Normalises in float32, rounds once."""
        result = self._empty(residual.shape[0], residual.shape[1], self.dtype)
        self._call("norm", norm.arguments(residual, result))
        return result

    def pack_attention(
        self,
        spec: AttentionSpec,
        *,
        q_norm: torch.Tensor | None = None,
        k_norm: torch.Tensor | None = None,
        norm_eps: float = 1e-6,
    ) -> NativeAttention:
        """Keeps the norms in float32; layers that rotate alike share a table."""
        return NativeAttention(
            spec,
            rotation=self._rotation(spec),
            q_norm=None if q_norm is None else self._float32(q_norm),
            k_norm=None if k_norm is None else self._float32(k_norm),
            norm_eps=norm_eps,
        )

    def _rotation(self, spec: AttentionSpec) -> RotationTable | None:
        if spec.rotary_frequencies is None:
            return None
        key = (spec.rotary_frequencies, spec.rotary_scale)
        if key not in self._rotations:
            self._rotations[key] = RotationTable(*key)
        return self._rotations[key]

    def pack_router(self, weight: torch.Tensor, *, top_k: int, normalises: bool) -> NativeRouter:
        """Packs the weight into panels."""
        return NativeRouter(cast("NativeLinear", self.pack_linear([weight])), top_k, normalises)

    def pack_experts(
        self, experts: Iterable[ExpertWeights], *, activation: Activation, rank: int = 0, world_size: int = 1
    ) -> NativeMixture:
        """Packs each expert into panels of its own."""
        ups, downs = [], []
        for gate, up, down in experts:
            ups.append(self.pack_activated_linear([gate, up], activation=activation, rank=rank, world_size=world_size))
            downs.append(self.pack_linear([down], split="input", rank=rank, world_size=world_size))
        halves = (cast("list[NativeLinear]", linears) for linears in (ups, downs))
        return NativeMixture(*(NativeExperts(linears, self.dtype) for linears in halves))

    def route(self, rows: torch.Tensor, router: NativeRouter) -> NativeRoutes:
        """Chooses by float32 logits, and sorts the choices by expert."""
        num_rows, top_k = rows.shape[0], router.top_k
        logits = self._multiply(rows, router.linear, torch.float32)
        routes = NativeRoutes(
            experts=self._empty(num_rows, top_k, torch.int32),
            weights=self._empty(num_rows, top_k, torch.float32),
            places=self._empty(num_rows, top_k, torch.int32),
            rows=self._empty(num_rows, top_k, torch.int64),
            group_starts=self._empty(1, router.linear.out_features + 1, torch.int32),
        )
        self._call("route", router.arguments(logits, routes))
        return routes

    def experts_add(
        self, rows: torch.Tensor, routes: NativeRoutes, experts: NativeMixture, residual: torch.Tensor
    ) -> None:
        """Computes all experts' rows at once, then adds up each row's choices in float32."""
        num_rows, top_k = routes.weights.shape
        hidden = self._empty(num_rows, top_k * experts.up.num_results, self.dtype)
        self._call("grouped_linear", experts.up.arguments(rows, hidden, routes, gathers=True))
        results = self._empty(num_rows, top_k * experts.down.num_results, torch.float32)
        self._call("grouped_linear", experts.down.arguments(hidden, results, routes, gathers=False))
        self._call("combine", combine_arguments(residual, results, routes))

    def allocate_kv_cache(self, config: KVCacheConfig) -> list[NativeKVCache]:
        """Allocates K and V of every layer, in the groups' own dtypes."""
        caches: dict[int, NativeKVCache] = {}
        for group in config.groups:
            of_group = NativeKVCache.allocate(group, num_blocks=config.num_blocks, block_size=config.block_size)
            caches.update(zip(group.layers, of_group, strict=True))
        return [caches[layer] for layer in sorted(caches)]

    def begin_step(
        self,
        metadata: AttentionMetadata,
        kv_caches: Sequence[NativeKVCache],  # noqa: ARG002
    ) -> NativeStep:
        """Makes sure that the rotations of all positions are there."""
        self.library.set_num_threads(self._num_threads)
        longest = max(metadata.host_seq_lens)
        for rotation in self._rotations.values():
            rotation.reserve(longest)
        if self._step is None or self._step.metadata is not metadata:
            self._step = NativeStep(metadata)
        return self._step

    def rotate_and_cache(
        self, qkv: torch.Tensor, attention: NativeAttention, step: NativeStep, kv_cache: NativeKVCache
    ) -> torch.Tensor:
        """Returns the rows of qkv, with the queries rotated in place."""
        self._call("rotate_and_cache", attention.rotate_arguments(qkv, step, kv_cache))
        return qkv

    def attend(
        self, queries: torch.Tensor, attention: NativeAttention, step: NativeStep, kv_cache: NativeKVCache
    ) -> torch.Tensor:
        """Attends with the queries in those rows."""
        result = self._empty(queries.shape[0], attention.out_features, queries.dtype)
        self._call("attend", attention.attend_arguments(queries, result, step, kv_cache))
        return result

    def program(self, network: Network, head: Head) -> Program:
        """Records the network's calls once; a step then makes them in one, without the interpreter."""
        return NativeProgram(self, network, head)

    @contextmanager
    def recording(self, num_rows: int) -> Iterator[Recording]:
        """Takes down the calls that are made meanwhile, instead of making them.

        Args:
            num_rows: Rows that their results have room for, whatever the rows that they are given.
        """
        self._recording = recording = Recording(num_rows)
        try:
            yield recording
        finally:
            self._recording = None

    def _empty(self, num_rows: int, num_columns: int, dtype: torch.dtype) -> torch.Tensor:
        if self._recording is not None:
            return self._recording.empty(num_columns, dtype)
        return torch.empty((num_rows, num_columns), dtype=dtype)

    def _call(self, name: str, arguments: ctypes.Structure) -> None:
        if self._recording is not None:
            self._recording.add(name, arguments)
        else:
            self._functions[name](ctypes.byref(arguments))

    def _merge(
        self,
        weights: Sequence[torch.Tensor],
        biases: Sequence[torch.Tensor] | None,
        split: Split,
        rank: int,
        world_size: int,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        return merge_parts(
            weights, biases, split=split, rank=rank, world_size=world_size, device=self.device, dtype=self.dtype
        )

    def _float32(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.to(self.device, torch.float32, copy=True).contiguous()
