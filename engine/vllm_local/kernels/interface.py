"""What a kernel backend offers: a few fused operations over one ragged batch, on weights that it packed itself.

Symbols in the shapes:
    T  tokens of the step, those of all requests one after the other
    R  requests of the step
    H  hidden size
    Hq, Hkv, D  query heads, K and V heads, head size
    V  vocabulary size
    E, K  experts of a mixture, and those that a token goes to

A decoder layer is this flat list: norm · linear (qkv) · rotate_and_cache · attend · linear_add (out) · norm ·
activated_linear (gate, up) · linear_add (down); with a mixture of experts the last two are route · experts_add. Between
layers travels the residual stream [T, H], whose number format is the backend's own; everything else is in the model's
dtype, logits are float32.

Nobody but the backend knows the layout of a packed weight or of a KV cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import torch

    from vllm_local.config import KVCacheConfig

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]
"""Activations of the feed-forward network; "gelu" is the exact one (erf)."""

NormKind = Literal["rms", "layer"]
"""Root-mean-square norm, or layer norm."""

Split = Literal["output", "input"]
"""Along which features a linear is cut for tensor parallelism."""

KVCache = Any
"""One layer's K and V. Opaque: allocated, written and read by the kernels only."""

Step = Any
"""What a backend works out once a step for all layers. Opaque."""

PackedNorm = Any
"""A packed norm. Opaque."""

PackedEmbedding = Any
"""A packed embedding table. Opaque."""

PackedAttention = Any
"""A packed `AttentionSpec` with its norms. Opaque."""

PackedRouter = Any
"""A packed router of a mixture of experts. Opaque."""

PackedExperts = Any
"""All experts of a mixture, packed. Opaque."""

Routes = Any
"""Which experts a step's tokens go to, and with what weight. Opaque."""

Network: TypeAlias = "Callable[[Kernels, torch.Tensor, Step, Sequence[KVCache]], torch.Tensor]"
"""Takes token ids [T] (int64) to normalised hidden states [T, H]. It makes the same kernel calls in every step, `embed`
first and `norm` last, and does nothing else."""

Head: TypeAlias = "Callable[[Kernels, torch.Tensor, torch.Tensor], object]"
"""Writes the logits [T, V] of hidden states [T, H] into memory [T, V], float32, in one kernel call: `logits`."""


class Program(Protocol):
    """A network and its head that kernels have taken over."""

    def __call__(
        self, token_ids: torch.Tensor, step: Step, kv_caches: Sequence[KVCache], logits: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Returns the hidden states [T, H] of token ids [T], in memory that the next call may overwrite.

        Args:
            token_ids: [T] int64.
            step: Where they stand.
            kv_caches: One a layer.
            logits: Where the logits of all T tokens go [T, V], float32, contiguous; None: they are not computed.
        """


class ExpertWeights(NamedTuple):
    """One expert of a mixture: down(activation(gate(x)) · up(x)).

    Attributes:
        gate: [intermediate size, H].
        up: [intermediate size, H].
        down: [H, intermediate size].
    """

    gate: torch.Tensor
    up: torch.Tensor
    down: torch.Tensor


@dataclass(slots=True)
class AttentionMetadata:
    """Where one step's tokens stand: a handful of integer arrays, one set a KV group.

    The tensors lie on the model's device and may be views of preallocated buffers, so that their addresses stay the
    same from step to step. The host lists hold the same numbers as their tensors, so that a backend can decide on
    shapes without waiting for the device.

    Tokens of one request are neighbours and in order. With q = query_lens[r] and s = host_seq_lens[r], request r
    computes its positions s - q … s - 1; K and V of the positions before are in the cache already (in blocks that
    other requests may share), or are written by this very step before any attention reads them.

    Attributes:
        positions: [T] int64, each token's position in its request.
        slot_mapping: [T] int64, where each token's K and V go: block id · block size + offset in the block.
        query_start_loc: [R + 1] int32, index of each request's first token; the last is T.
        seq_lens: [R] int32, tokens of each request that have K and V once this step's are written.
        block_tables: [R, at least ceil(max(seq_lens) / block size)] int32, the requests' blocks in order. Entries
            past a request's last block are not read as its context but must be valid block ids (0 will do).
        query_lens: R numbers, tokens of each request in this step, all at least 1.
        host_seq_lens: R numbers, `seq_lens` on the host.
    """

    positions: torch.Tensor
    slot_mapping: torch.Tensor
    query_start_loc: torch.Tensor
    seq_lens: torch.Tensor
    block_tables: torch.Tensor
    query_lens: list[int]
    host_seq_lens: list[int]


@dataclass(frozen=True, kw_only=True)
class AttentionSpec:
    """One layer's attention in plain numbers.

    Attributes:
        num_heads: Query heads (Hq), a multiple of num_kv_heads.
        num_kv_heads: K and V heads (Hkv).
        head_size: Numbers in a head (D).
        softmax_scale: What the dot products are multiplied by.
        rotary_frequencies: D / 2 angles in radians a position, for pairs (i, i + D / 2) of a head; None: no rotation.
        rotary_scale: What cosine and sine are multiplied by.
        alibi_slopes: Hq slopes; slope · (key position - query position) is added to the scaled product.
        qkv_clip: Q, K and V are clamped to [-qkv_clip, qkv_clip] before anything else.
        sliding_window: A query sees the last so many positions, its own included; None: all.
    """

    num_heads: int
    num_kv_heads: int
    head_size: int
    softmax_scale: float
    rotary_frequencies: tuple[float, ...] | None = None
    rotary_scale: float = 1.0
    alibi_slopes: tuple[float, ...] | None = None
    qkv_clip: float | None = None
    sliding_window: int | None = None


class PackedLinear(Protocol):
    """Weights of a linear layer in the backend's layout. Made by a `WeightPacker`, read by its kernels only."""

    @property
    def in_features(self) -> int:
        """Numbers in an input row, on this rank."""

    @property
    def out_features(self) -> int:
        """Numbers in an output row, on this rank."""


class WeightPacker(Protocol):
    """Takes plain tensors, in any float format and on any device, once while loading.

    Every method copies what it needs: the caller drops its tensor afterwards.
    """

    def pack_linear(
        self,
        weights: Sequence[torch.Tensor],
        biases: Sequence[torch.Tensor] | None = None,
        *,
        split: Split = "output",
        rank: int = 0,
        world_size: int = 1,
    ) -> PackedLinear:
        """Packs linears that read the same input, such as Q, K and V, into one whose outputs lie side by side.

        Args:
            weights: One [out features, in features] a part.
            biases: One [out features] a part, or None for no bias anywhere.
            split: With more than one rank, what this rank keeps of every part: a share of its outputs or of its
                inputs (then rank 0 adds the bias).
            rank: This process's place among the ranks.
            world_size: Number of ranks; sizes must be multiples of it.
        """

    def pack_activated_linear(
        self,
        weights: Sequence[torch.Tensor],
        biases: Sequence[torch.Tensor] | None = None,
        *,
        activation: Activation,
        rank: int = 0,
        world_size: int = 1,
    ) -> PackedLinear:
        """Packs the first half of a feed-forward network, for `activated_linear`.

        Args:
            weights: One part: activation(up(x)). Two parts (gate, up): activation(gate(x)) · up(x).
            biases: One a part, or None.
            activation: The activation.
            rank: As for `pack_linear`; the outputs are split.
            world_size: The same.
        """

    def pack_norm(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, *, kind: NormKind, eps: float
    ) -> PackedNorm:
        """Packs a norm over the last dimension; weight and bias are [H]."""

    def pack_embedding(self, weight: torch.Tensor) -> PackedEmbedding:
        """Packs an embedding table [V, H]."""

    def pack_tied_embedding(self, weight: torch.Tensor) -> tuple[PackedEmbedding, PackedLinear]:
        """Packs an embedding table [V, H] that is the LM head's weight too; they share memory where layouts allow."""

    def pack_attention(
        self,
        spec: AttentionSpec,
        *,
        q_norm: torch.Tensor | None = None,
        k_norm: torch.Tensor | None = None,
        norm_eps: float = 1e-6,
    ) -> PackedAttention:
        """Packs what a layer's attention needs; q_norm and k_norm [D] are root-mean-square norms of each head."""

    def pack_router(self, weight: torch.Tensor, *, top_k: int, normalises: bool) -> PackedRouter:
        """Packs the router of a mixture of experts.

        Args:
            weight: [E, H].
            top_k: Experts that a token goes to (K), those with the largest logits.
            normalises: A token's weights are the softmax over its K logits; else that over all E.
        """

    def pack_experts(
        self, experts: Iterable[ExpertWeights], *, activation: Activation, rank: int = 0, world_size: int = 1
    ) -> PackedExperts:
        """Packs the experts of a mixture one by one, so that no more than one exists twice.

        Args:
            experts: All E, in order.
            activation: The activation.
            rank: As for `pack_linear`; every expert is split between its halves.
            world_size: The same.
        """


class RowKernels(Protocol):
    """Operations on rows that know nothing of each other."""

    def embed(self, token_ids: torch.Tensor, embedding: PackedEmbedding) -> torch.Tensor:
        """Looks up token ids [T] (int64) and returns the residual stream [T, H]."""

    def as_residual(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns embedding rows [T, H], of any float format, as a residual stream of its own."""

    def norm(self, residual: torch.Tensor, norm: PackedNorm) -> torch.Tensor:
        """Returns the normalised residual stream [T, H] in the model's dtype."""

    def linear(self, rows: torch.Tensor, linear: PackedLinear) -> torch.Tensor:
        """Returns rows [T, in features] times the weights, plus the bias: [T, out features]."""

    def activated_linear(self, rows: torch.Tensor, linear: PackedLinear) -> torch.Tensor:
        """Returns activation(up) or activation(gate) · up, as it was packed: [T, intermediate size]."""

    def linear_add(self, rows: torch.Tensor, linear: PackedLinear, residual: torch.Tensor) -> None:
        """Adds the linear of rows [T, in features] to the residual stream [T, H] in place."""

    def route(self, rows: torch.Tensor, router: PackedRouter) -> Routes:
        """Chooses the experts of every row of [T, H]. None is ever full: each row has all of its own."""

    def experts_add(self, rows: torch.Tensor, routes: Routes, experts: PackedExperts, residual: torch.Tensor) -> None:
        """Adds the weighed sum of each row's experts, over rows [T, H], to the residual stream [T, H] in place."""

    def logits(
        self, rows: torch.Tensor, linear: PackedLinear, scale: float = 1.0, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Returns the scaled logits of normalised rows [R, H] as float32 [R, V], in `out` if there is one."""


class AttentionKernels(Protocol):
    """The KV cache and everything that touches it."""

    def allocate_kv_cache(self, config: KVCacheConfig) -> list[KVCache]:
        """Returns one cache a layer, in the order of the layers."""

    def begin_step(self, metadata: AttentionMetadata, kv_caches: Sequence[KVCache]) -> Step:
        """Works out what all layers of a step share. The arrays must not change before the step is over.

        The next step may come with the same object, which then has other numbers in the same tensors.
        """

    def rotate_and_cache(
        self, qkv: torch.Tensor, attention: PackedAttention, step: Step, kv_cache: KVCache
    ) -> torch.Tensor:
        """Clips, normalises and rotates, and writes K and V of all tokens into the cache.

        Args:
            qkv: [T, (Hq + 2 Hkv) · D], heads of Q, then of K, then of V; may be overwritten.
            attention: The layer's attention.
            step: This step.
            kv_cache: The layer's cache.

        Returns:
            The queries, in the layout that `attend` takes.
        """

    def attend(self, queries: torch.Tensor, attention: PackedAttention, step: Step, kv_cache: KVCache) -> torch.Tensor:
        """Returns every token's attention over its request's context up to itself, [T, Hq · D]."""


class Kernels(WeightPacker, RowKernels, AttentionKernels, Protocol):
    """A backend: packs weights, then computes with them.

    Results may depend on which other requests are in the batch, up to rounding, unless a backend says otherwise.
    """

    @property
    def device(self) -> torch.device:
        """Where tensors have to be."""

    @property
    def dtype(self) -> torch.dtype:
        """The model's dtype: of activations, packed weights, K and V."""

    @property
    def description(self) -> str:
        """What computes, in words for the log, such as "native kernels, avx2"."""

    def program(self, network: Network, head: Head) -> Program:
        """Returns something that does in a step what the network does, and its head where it is asked to.

        It may run the network, or record its calls once and repeat them: the token ids, the step and the caches are
        the only tensors from elsewhere that the network's calls may be given. Serves one step at a time.
        """

    def set_num_threads(self, num_threads: int) -> None:
        """Sets on how many threads later steps compute, whichever thread calls them."""
