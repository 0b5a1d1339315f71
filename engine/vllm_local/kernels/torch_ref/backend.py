"""`TorchKernels`: the kernels' interface in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import torch
from torch.nn import functional as F

from vllm_local.config import KVCacheConfig
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
from vllm_local.kernels.torch_ref.attention import TorchAttention
from vllm_local.kernels.torch_ref.experts import TorchExpert, TorchRouter, TorchRoutes
from vllm_local.kernels.torch_ref.kv_cache import TorchKVCache
from vllm_local.kernels.torch_ref.linear import TorchLinear, make_linear
from vllm_local.kernels.torch_ref.norm import LayerNorm, RmsNorm
from vllm_local.kernels.torch_ref.step import TorchStep


def _gelu_tanh(rows: torch.Tensor) -> torch.Tensor:
    return F.gelu(rows, approximate="tanh")


_ACTIVATIONS: Mapping[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": F.relu,
}


class TorchKernels:
    """See `vllm_local.kernels.interface.Kernels` for what the methods do.

    Attributes:
        device: Where tensors have to be.
        dtype: The model's dtype: of activations, packed weights, K and V.
    """

    def __init__(self, device: torch.device | str, dtype: torch.dtype) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self._tables: dict[tuple[tuple[float, ...], tuple[int, ...]], torch.Tensor] = {}

    @property
    def description(self) -> str:
        """Names the instruction set of torch's kernels, on which speed hangs."""
        if self.device.type != "cpu":
            return "torch's operators"
        return f"torch's operators, {torch.backends.cpu.get_cpu_capability()}"

    def set_num_threads(self, num_threads: int) -> None:
        """Sets torch's own number, for the whole process."""
        torch.set_num_threads(num_threads)

    def pack_linear(
        self,
        weights: Sequence[torch.Tensor],
        biases: Sequence[torch.Tensor] | None = None,
        *,
        split: Split = "output",
        rank: int = 0,
        world_size: int = 1,
    ) -> PackedLinear:
        """Merges the parts and packs them."""
        return make_linear(*self._merge(weights, biases, split, rank, world_size))

    def pack_activated_linear(
        self,
        weights: Sequence[torch.Tensor],
        biases: Sequence[torch.Tensor] | None = None,
        *,
        activation: Activation,
        rank: int = 0,
        world_size: int = 1,
    ) -> PackedLinear:
        """Merges up, or gate and up, and packs them."""
        weight, bias = self._merge(weights, biases, "output", rank, world_size)
        return make_linear(weight, bias, activation=activation, gated=len(weights) == 2)

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

    def pack_norm(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, *, kind: NormKind, eps: float
    ) -> RmsNorm | LayerNorm:
        """Keeps the weights in float32."""
        if kind == "rms":
            return RmsNorm(self._float32(weight), eps)
        return LayerNorm(self._float32(weight), None if bias is None else self._float32(bias), eps)

    def pack_embedding(self, weight: torch.Tensor) -> torch.Tensor:
        """Keeps the rows in the model's dtype."""
        return weight.to(self.device, self.dtype, copy=True)

    def pack_tied_embedding(self, weight: torch.Tensor) -> tuple[torch.Tensor, PackedLinear]:
        """Shares the rows, except where oneDNN's layout is a copy of its own."""
        embedding = self.pack_embedding(weight)
        return embedding, make_linear(embedding, None)

    def pack_attention(
        self,
        spec: AttentionSpec,
        *,
        q_norm: torch.Tensor | None = None,
        k_norm: torch.Tensor | None = None,
        norm_eps: float = 1e-6,
    ) -> TorchAttention:
        """Puts the spec's numbers on the device, once for all layers that have the same."""
        head_norm = None
        if q_norm is not None and k_norm is not None:
            parts = [q_norm.expand(spec.num_heads, -1), k_norm.expand(spec.num_kv_heads, -1)]
            head_norm = self._float32(torch.cat(parts))
        return TorchAttention(
            spec=spec,
            frequencies=self._table(spec.rotary_frequencies, (-1,)),
            slopes=self._table(spec.alibi_slopes, (1, -1, 1, 1)),
            head_norm=head_norm,
            norm_eps=norm_eps,
        )

    def embed(self, token_ids: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Looks up the rows and makes them float32."""
        return embedding.index_select(0, token_ids).float()

    def as_residual(self, rows: torch.Tensor) -> torch.Tensor:
        """Copies the rows into float32."""
        return rows.to(self.device, torch.float32, copy=True)

    def norm(self, residual: torch.Tensor, norm: RmsNorm | LayerNorm) -> torch.Tensor:
        """Normalises in float32, rounds once."""
        return norm(residual).to(self.dtype)

    def linear(self, rows: torch.Tensor, linear: PackedLinear) -> torch.Tensor:
        """Multiplies."""
        return cast("TorchLinear", linear)(rows)

    def activated_linear(self, rows: torch.Tensor, linear: PackedLinear) -> torch.Tensor:
        """Multiplies, activates and gates."""
        packed = cast("TorchLinear", linear)
        assert packed.activation is not None, "packed by pack_linear"
        activate = _ACTIVATIONS[packed.activation]
        result = packed(rows)
        if not packed.gated:
            return activate(result)
        gate, up = result.chunk(2, dim=-1)
        return activate(gate).mul_(up)

    def linear_add(self, rows: torch.Tensor, linear: PackedLinear, residual: torch.Tensor) -> None:
        """Multiplies and adds in float32."""
        residual.add_(cast("TorchLinear", linear)(rows))

    def logits(
        self, rows: torch.Tensor, linear: PackedLinear, scale: float = 1.0, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Multiplies in the model's dtype, then converts."""
        logits = cast("TorchLinear", linear)(rows)
        logits = logits.float() if out is None else out.copy_(logits)
        return logits if scale == 1.0 else logits.mul_(scale)

    def pack_router(self, weight: torch.Tensor, *, top_k: int, normalises: bool) -> TorchRouter:
        """Rounds the weight to the model's dtype, and keeps it in float32."""
        return TorchRouter(self._float32(weight.to(self.dtype)), top_k, normalises)

    def pack_experts(
        self, experts: Iterable[ExpertWeights], *, activation: Activation, rank: int = 0, world_size: int = 1
    ) -> list[TorchExpert]:
        """Packs two linears an expert."""
        return [
            TorchExpert(
                self.pack_activated_linear([gate, up], activation=activation, rank=rank, world_size=world_size),
                self.pack_linear([down], split="input", rank=rank, world_size=world_size),
            )
            for gate, up, down in experts
        ]

    def route(self, rows: torch.Tensor, router: TorchRouter) -> TorchRoutes:
        """Chooses by float32 logits."""
        return router(rows)

    def experts_add(
        self, rows: torch.Tensor, routes: TorchRoutes, experts: Sequence[TorchExpert], residual: torch.Tensor
    ) -> None:
        """Computes one expert's rows after the other, and adds in float32."""
        for index, choices in routes.by_expert(len(experts)):
            expert = experts[index]
            results = self.linear(self.activated_linear(rows[choices.rows], expert.up), expert.down)
            residual.index_add_(0, choices.rows, results.float() * choices.weights[:, None])

    def allocate_kv_cache(self, config: KVCacheConfig) -> list[TorchKVCache]:
        """Allocates K and V of every layer, in the groups' own dtypes."""
        caches: dict[int, TorchKVCache] = {}
        for group in config.groups:
            of_group = TorchKVCache.allocate(
                group, num_blocks=config.num_blocks, block_size=config.block_size, device=self.device
            )
            caches.update(zip(group.layers, of_group, strict=True))
        return [caches[layer] for layer in sorted(caches)]

    def begin_step(self, metadata: AttentionMetadata, kv_caches: Sequence[TorchKVCache]) -> TorchStep:
        """Groups the requests."""
        return TorchStep(metadata, block_size=kv_caches[0].block_size)

    def rotate_and_cache(
        self, qkv: torch.Tensor, attention: TorchAttention, step: TorchStep, kv_cache: TorchKVCache
    ) -> torch.Tensor:
        """Returns the queries [T, Hq, D]."""
        return attention.rotate_and_cache(qkv, step, kv_cache)

    def attend(
        self, queries: torch.Tensor, attention: TorchAttention, step: TorchStep, kv_cache: TorchKVCache
    ) -> torch.Tensor:
        """Attends group by group."""
        return attention.attend(queries, step, kv_cache)

    def program(self, network: Network, head: Head) -> Program:
        """Runs the network and its head."""

        def run(
            token_ids: torch.Tensor,
            step: TorchStep,
            kv_caches: Sequence[TorchKVCache],
            logits: torch.Tensor | None = None,
        ) -> torch.Tensor:
            hidden = network(self, token_ids, step, kv_caches)
            if logits is not None:
                head(self, hidden, logits)
            return hidden

        return run

    def _float32(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.to(self.device, torch.float32, copy=True)

    def _table(self, numbers: tuple[float, ...] | None, shape: tuple[int, ...]) -> torch.Tensor | None:
        if numbers is None:
            return None
        key = (numbers, shape)
        if key not in self._tables:
            self._tables[key] = torch.tensor(numbers, dtype=torch.float32, device=self.device).view(shape)
        return self._tables[key]
