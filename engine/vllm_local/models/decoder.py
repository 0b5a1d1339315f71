"""The config-driven decoder: token ids or embedding rows in, hidden states and logits out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from vllm_local.kernels.interface import (
    AttentionMetadata,
    Kernels,
    KVCache,
    PackedEmbedding,
    PackedLinear,
    PackedNorm,
    Program,
    Step,
)
from vllm_local.layers.decoder_layer import DecoderLayer
from vllm_local.models.inference import without_gradients
from vllm_local.models.model_config import DecoderConfig


@dataclass(frozen=True, slots=True)
class _Network:
    """What a step computes before the LM head."""

    embedding: PackedEmbedding
    layers: tuple[DecoderLayer, ...]
    final_norm: PackedNorm

    def __call__(
        self, kernels: Kernels, token_ids: torch.Tensor, step: Step, kv_caches: Sequence[KVCache]
    ) -> torch.Tensor:
        """Takes token ids to hidden states."""
        return self.run(kernels, kernels.embed(token_ids, self.embedding), step, kv_caches)

    def run(self, kernels: Kernels, residual: torch.Tensor, step: Step, kv_caches: Sequence[KVCache]) -> torch.Tensor:
        """Takes a residual stream, which it overwrites, to hidden states."""
        for layer, kv_cache in zip(self.layers, kv_caches, strict=True):
            layer.forward(kernels, residual, step, kv_cache)
        return kernels.norm(residual, self.final_norm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """A decoder on packed weights.

    Attributes:
        config: Its numbers.
        kernels: What computes; also allocates the KV cache.
        embedding: Token embedding.
        layers: The decoder layers.
        final_norm: Norm after the last layer.
        head: LM head.
    """

    config: DecoderConfig
    kernels: Kernels
    embedding: PackedEmbedding
    layers: tuple[DecoderLayer, ...]
    final_norm: PackedNorm
    head: PackedLinear
    _network: _Network = field(init=False, repr=False, compare=False)
    _program: Program = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_network", _Network(self.embedding, self.layers, self.final_norm))
        object.__setattr__(self, "_program", self.kernels.program(self._network, self._write_logits))

    @without_gradients
    def forward(
        self,
        inputs: torch.Tensor,
        metadata: AttentionMetadata,
        kv_caches: Sequence[KVCache],
        logits: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Runs one step, and writes K and V of its tokens into the caches.

        Args:
            inputs: Token ids [T] (int64), or embedding rows [T, H] of any float format.
            metadata: Where the tokens stand.
            kv_caches: One a layer, from `kernels.allocate_kv_cache`.
            logits: Where the logits of all T tokens go [T, V], float32, contiguous; None: they are not computed.

        Returns:
            Hidden states after the final norm, [T, H] in the model's dtype, in memory that the next step may overwrite.
        """
        kernels = self.kernels
        step = kernels.begin_step(metadata, kv_caches)
        if inputs.dim() == 1:
            return self._program(inputs, step, kv_caches, logits)
        hidden = self._network.run(kernels, kernels.as_residual(inputs), step, kv_caches)
        if logits is not None:
            self._write_logits(kernels, hidden, logits)
        return hidden

    @without_gradients
    def compute_logits(self, hidden: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Returns float32 logits [R, V] for rows [R, H] of what `forward` returned, in `out` if there is one."""
        return self.kernels.logits(hidden, self.head, self.config.logit_scale, out)

    def _write_logits(self, kernels: Kernels, hidden: torch.Tensor, logits: torch.Tensor) -> None:
        kernels.logits(hidden, self.head, self.config.logit_scale, logits)
