"""What the decoder has to know of a model, and which weights it is made of. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vllm_local.config import KVCacheGroup, ModelInfo
from vllm_local.kernels.interface import Activation, AttentionSpec, NormKind


@dataclass(frozen=True, kw_only=True)
class ExpertNames:
    """Names of a mixture of experts in a family's checkpoints; the first "{}" is the layer, the second the expert.

    Attributes:
        router: Router [E, H].
        gate: An expert's gate.
        up: What the gate opens.
        down: Its second half.
        fused: The tensors of checkpoints that hold each layer's experts in one: all gates and ups
            [E, 2 · intermediate size, H], and all second halves [E, H, intermediate size].
        fused_router: The router there.
    """

    router: str
    gate: str
    up: str
    down: str
    fused: tuple[str, str] = ("model.layers.{}.mlp.experts.gate_up_proj", "model.layers.{}.mlp.experts.down_proj")
    fused_router: str = "model.layers.{}.mlp.gate"


@dataclass(frozen=True, kw_only=True)
class MixtureSpec:
    """A mixture of experts in plain numbers.

    Attributes:
        layers: Indices of the layers that have one; the others' networks are dense.
        num_experts: Experts of a layer (E).
        top_k: Experts that a token goes to.
        intermediate_size: Numbers between the halves of an expert.
        normalises: A token's weights add up to 1, as the softmax over its own experts; else that over all does.
        names: Names of the weights.
    """

    layers: frozenset[int]
    num_experts: int
    top_k: int
    intermediate_size: int
    normalises: bool
    names: ExpertNames


@dataclass(frozen=True, kw_only=True)
class WeightNames:
    """Names of a family's modules in its checkpoints; "{}" stands for the layer's index.

    A module's tensors are its name with ".weight" or ".bias" behind.

    Attributes:
        embedding: Token embedding [V, H].
        attention_norm: Norm before attention.
        qkv: Three modules, or one whose rows are Q, K and V one below the other.
        out: Attention's output projection.
        mlp_norm: Norm before the feed-forward network.
        up: The network's first half: (gate, up), or (up,).
        down: Its second half.
        final_norm: Norm after the last layer.
        head: LM head [V, H].
        q_norm: Norm of every Q head, or None.
        k_norm: Norm of every K head, or None.
        ignored: Ends of names of tensors that older checkpoints hold and nobody needs.
    """

    embedding: str
    attention_norm: str
    qkv: tuple[str, ...]
    out: str
    mlp_norm: str
    up: tuple[str, ...]
    down: str
    final_norm: str
    head: str = "lm_head"
    q_norm: str | None = None
    k_norm: str | None = None
    ignored: tuple[str, ...] = ("rotary_emb.inv_freq", "attn.masked_bias", "attn.bias")


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """A decoder-only transformer in numbers.

    Attributes:
        architecture: The name in config.json.
        vocab_size: Rows of the embedding (V).
        hidden_size: Numbers in a row of the residual stream (H).
        intermediate_size: Numbers between the halves of the feed-forward network.
        max_position_embeddings: Longest context that the model was made for, in tokens.
        attention: One spec a layer.
        norm: Kind of the norms.
        norm_eps: Their epsilon.
        activation: Of the feed-forward network.
        qkv_bias: Q, K and V have biases.
        out_bias: Attention's output projection has one.
        mlp_bias: The feed-forward network's linears have them.
        tie_word_embeddings: The LM head has the embedding's weights.
        logit_scale: What logits are multiplied by.
        mixture: Mixtures of experts in place of dense networks, or None.
        names: Names of the weights.
        dtype: Name of the number format it is computed in.
    """

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    max_position_embeddings: int
    attention: tuple[AttentionSpec, ...]
    norm: NormKind
    norm_eps: float
    activation: Activation
    names: WeightNames
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    logit_scale: float = 1.0
    mixture: MixtureSpec | None = None
    dtype: str = "float32"

    @property
    def num_layers(self) -> int:
        """Number of decoder layers."""
        return len(self.attention)

    @property
    def info(self) -> ModelInfo:
        """What the engine sizes itself by."""
        spec = self.attention[0]
        group = KVCacheGroup(
            layers=tuple(range(self.num_layers)),
            num_kv_heads=spec.num_kv_heads,
            k_head_size=spec.head_size,
            v_head_size=spec.head_size,
            dtype=self.dtype,
        )
        return ModelInfo(
            architecture=self.architecture,
            max_position_embeddings=self.max_position_embeddings,
            vocab_size=self.vocab_size,
            dtype=self.dtype,
            kv_cache_groups=(group,),
        )

    def mixture_of(self, layer: int) -> MixtureSpec | None:
        """Returns a layer's mixture of experts, or None where its network is dense."""
        return self.mixture if self.mixture is not None and layer in self.mixture.layers else None

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns every tensor that a checkpoint must hold, by name, with its shape."""
        shapes = dict(self._outer_shapes())
        for layer, spec in enumerate(self.attention):
            shapes.update(self._layer_shapes(layer, spec))
        return shapes

    def _outer_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{self.names.embedding}.weight", (self.vocab_size, self.hidden_size)
        yield f"{self.names.final_norm}.weight", (self.hidden_size,)
        if not self.tie_word_embeddings:
            yield f"{self.names.head}.weight", (self.vocab_size, self.hidden_size)

    def _layer_shapes(self, layer: int, spec: AttentionSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
        names, hidden = self.names, self.hidden_size
        q_size, kv_size = spec.num_heads * spec.head_size, spec.num_kv_heads * spec.head_size
        qkv_sizes = (q_size, kv_size, kv_size) if len(names.qkv) == 3 else (q_size + 2 * kv_size,)
        linears = [
            *((name, size, hidden, self.qkv_bias) for name, size in zip(names.qkv, qkv_sizes, strict=True)),
            (names.out, hidden, q_size, self.out_bias),
        ]
        mixture = self.mixture_of(layer)
        if mixture is None:
            linears += [(name, self.intermediate_size, hidden, self.mlp_bias) for name in names.up]
            linears.append((names.down, hidden, self.intermediate_size, self.mlp_bias))
        else:
            yield from self._mixture_shapes(layer, mixture)
        for name, out_features, in_features, has_bias in linears:
            yield f"{name.format(layer)}.weight", (out_features, in_features)
            if has_bias:
                yield f"{name.format(layer)}.bias", (out_features,)
        for name in (names.attention_norm, names.mlp_norm):
            yield f"{name.format(layer)}.weight", (hidden,)
        for norm in (names.q_norm, names.k_norm):
            if norm is not None:
                yield f"{norm.format(layer)}.weight", (spec.head_size,)

    def _mixture_shapes(self, layer: int, mixture: MixtureSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
        names, hidden, inner = mixture.names, self.hidden_size, mixture.intermediate_size
        yield f"{names.router.format(layer)}.weight", (mixture.num_experts, hidden)
        for expert in range(mixture.num_experts):
            yield f"{names.gate.format(layer, expert)}.weight", (inner, hidden)
            yield f"{names.up.format(layer, expert)}.weight", (inner, hidden)
            yield f"{names.down.format(layer, expert)}.weight", (hidden, inner)
