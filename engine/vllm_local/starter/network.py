"""The starter model as training computes it: Llama's arithmetic, with few and large operations.

The released weights are an ordinary `LlamaForCausalLM`; this network has the same parameters with those that read the
same input side by side. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn

from vllm_local.starter.attention import causal_attention
from vllm_local.starter.corpus import Packed

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network, by the names of transformers' `LlamaConfig`."""

    vocab_size: int
    hidden_size: int = 256
    intermediate_size: int = 704
    num_hidden_layers: int = 8
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    head_dim: int = 64
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-5
    rope_theta: float = 500_000.0


class Network(nn.Module):
    """A Llama decoder with tied embeddings.

    Args:
        sizes: Its sizes.
        dtype: Type of the parameters and of what is multiplied with them; residuals, norms and RoPE are fp32.
        compiled: Whether torch compiles what stands between the products, each to one pass over memory. It takes a
            minute and a C++ compiler, and saves a tenth of a step on a processor.
    """

    def __init__(self, sizes: Sizes, dtype: torch.dtype = torch.bfloat16, compiled: bool = False) -> None:
        super().__init__()
        self._normed = _fused(_normed) if compiled else _normed
        self._rotated = _fused(_rotated) if compiled else _rotated
        self._gated = _fused(_gated) if compiled else _gated
        hidden, inner = sizes.hidden_size, sizes.intermediate_size
        self.num_heads, self.num_kv_heads = sizes.num_attention_heads, sizes.num_key_value_heads
        self.head_dim = sizes.head_dim
        self.epsilon = sizes.rms_norm_eps
        self.rotation: Tensor
        width, kv_width = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        layers = range(sizes.num_hidden_layers)
        self.embed = nn.Parameter(torch.empty(sizes.vocab_size, hidden, dtype=dtype))
        self.norm = nn.Parameter(torch.ones(hidden, dtype=dtype))
        self.attention_norms = nn.ParameterList(torch.ones(hidden, dtype=dtype) for _ in layers)
        self.mlp_norms = nn.ParameterList(torch.ones(hidden, dtype=dtype) for _ in layers)
        self.qkv = nn.ParameterList(torch.empty(width + 2 * kv_width, hidden, dtype=dtype) for _ in layers)
        self.out = nn.ParameterList(torch.empty(hidden, width, dtype=dtype) for _ in layers)
        self.gate_up = nn.ParameterList(torch.empty(2 * inner, hidden, dtype=dtype) for _ in layers)
        self.down = nn.ParameterList(torch.empty(hidden, inner, dtype=dtype) for _ in layers)
        inverse = sizes.rope_theta ** (-torch.arange(0, self.head_dim, 2) / self.head_dim)
        angles = torch.outer(torch.arange(sizes.max_position_embeddings), inverse)[:, None]
        self.register_buffer("rotation", torch.stack((angles.cos(), angles.sin())), persistent=False)

    def initialise(self, seed: int) -> None:
        """Draw the weights: normal with standard deviation 0.02, as transformers does."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.ndim == 2:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)

    def matrix_rows(self, name: str) -> tuple[int, ...]:
        """Return the rows of each of the matrices that a parameter holds side by side, or of the parameter itself.

        An optimizer that makes steps orthogonal must take them one by one: queries and keys have smaller gradients than
        values, and would take smaller steps beside them.
        """
        kind, rows = name.partition(".")[0], len(self.get_parameter(name))
        if kind == "qkv":
            kv_width = self.num_kv_heads * self.head_dim
            return self.num_heads * self.head_dim, kv_width, kv_width
        return (rows // 2, rows // 2) if kind == "gate_up" else (rows,)

    def forward(self, packed: Packed) -> Tensor:
        """Return the last hidden states [N, H]; attention is causal and within a row."""
        rotation = self.rotation[:, packed.positions]
        hidden = F.embedding(packed.tokens, self.embed).float()
        hidden, normed = self._normed(hidden, None, self.attention_norms[0], self.epsilon)
        for layer, norm in enumerate((*self.attention_norms[1:], self.norm)):
            heads = F.linear(normed, self.qkv[layer])
            attended = self._attend(heads.unflatten(-1, (-1, self.head_dim)), rotation, packed)
            change = F.linear(attended, self.out[layer])
            hidden, normed = self._normed(hidden, change, self.mlp_norms[layer], self.epsilon)
            change = F.linear(self._gated(F.linear(normed, self.gate_up[layer])), self.down[layer])
            hidden, normed = self._normed(hidden, change, norm, self.epsilon)
        return normed

    def losses(self, packed: Packed) -> Tensor:
        """Return the cross entropy at the counted positions, [M]."""
        logits = F.linear(self(packed)[packed.counted], self.embed)
        return F.cross_entropy(logits.float(), packed.targets, reduction="none")

    def llama_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return this network's weights, given by their names here, by their names in `LlamaForCausalLM`."""
        named = {"model.embed_tokens.weight": weights["embed"], "lm_head.weight": weights["embed"]}
        named["model.norm.weight"] = weights["norm"]
        width, kv_width = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        for layer in range(len(self.qkv)):
            prefix = f"model.layers.{layer}."
            query, key, value = weights[f"qkv.{layer}"].split((width, kv_width, kv_width))
            gate, up = weights[f"gate_up.{layer}"].chunk(2)
            parts = {"self_attn.q_proj": query, "self_attn.k_proj": key, "self_attn.v_proj": value}
            parts |= {"self_attn.o_proj": weights[f"out.{layer}"], "mlp.gate_proj": gate, "mlp.up_proj": up}
            parts |= {"mlp.down_proj": weights[f"down.{layer}"]}
            parts |= {"input_layernorm": weights[f"attention_norms.{layer}"]}
            parts |= {"post_attention_layernorm": weights[f"mlp_norms.{layer}"]}
            named |= {f"{prefix}{name}.weight": tensor.contiguous() for name, tensor in parts.items()}
        return named

    def read_llama(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of a `LlamaForCausalLM` of these sizes, by their names there."""

        def beside(layer: int, *names: str) -> Tensor:
            return torch.cat([weights[f"model.layers.{layer}.{name}.weight"] for name in names])

        named = {"embed": weights["model.embed_tokens.weight"], "norm": weights["model.norm.weight"]}
        for layer in range(len(self.qkv)):
            named[f"qkv.{layer}"] = beside(layer, *(f"self_attn.{name}_proj" for name in "qkv"))
            named[f"out.{layer}"] = beside(layer, "self_attn.o_proj")
            named[f"gate_up.{layer}"] = beside(layer, "mlp.gate_proj", "mlp.up_proj")
            named[f"down.{layer}"] = beside(layer, "mlp.down_proj")
            named[f"attention_norms.{layer}"] = beside(layer, "input_layernorm")
            named[f"mlp_norms.{layer}"] = beside(layer, "post_attention_layernorm")
        self.load_state_dict(named)

    def _attend(self, heads: Tensor, rotation: Tensor, packed: Packed) -> Tensor:
        """Return what attention gives, [N, heads * head_dim], for queries, keys and values [N, heads, head_dim]."""
        query_key, value = heads.split((self.num_heads + self.num_kv_heads, self.num_kv_heads), 1)
        query_key = self._rotated(query_key, rotation)
        query, key = query_key.split((self.num_heads, self.num_kv_heads), 1)
        group = self.num_heads // self.num_kv_heads
        spread = (query.contiguous(), key.repeat_interleave(group, 1), value.repeat_interleave(group, 1))
        return (_attend_batches if query.is_cpu else _attend_rows)(*spread, packed)


def _fused(part: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return a function of tensors of any number of rows, compiled."""
    compiled: Callable[_P, _T] = torch.compile(part, dynamic=True)
    return compiled


def _normed(hidden: Tensor, change: Tensor | None, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the residual with the change added, and its RMS norm in the weight's type."""
    hidden = hidden if change is None else hidden + change
    scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + epsilon)
    return hidden, (hidden * scale).to(weight.dtype) * weight


def _rotated(heads: Tensor, rotation: Tensor) -> Tensor:
    """Return queries or keys [N, heads, head_dim] rotated by cosines and sines [2, N, 1, head_dim / 2]."""
    first, second = heads.float().chunk(2, -1)
    cosine, sine = rotation
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1).to(heads.dtype)


def _gated(gate_up: Tensor) -> Tensor:
    """Return SwiGLU's product for gates and ups side by side."""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


def _attend_batches(query: Tensor, key: Tensor, value: Tensor, packed: Packed) -> Tensor:
    """Return causal attention within each row, [N, heads * head_dim], one batch of rows of one length at a time."""
    lengths = [rows * length for rows, length in packed.shapes]
    attended = []
    for shape, *parts in zip(
        packed.shapes, query.split(lengths), key.split(lengths), value.split(lengths), strict=True
    ):
        rows = [part.unflatten(0, shape).transpose(1, 2) for part in parts]
        attend = causal_attention if torch.is_grad_enabled() else _attend_without_gradient
        one = attend(*rows)
        attended.append(one.transpose(1, 2).flatten(0, 1))
    return torch.cat(attended).flatten(1)


def _attend_without_gradient(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return what `causal_attention` does; torch's own kernel takes half the time where no gradient is wanted."""
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def _attend_rows(query: Tensor, key: Tensor, value: Tensor, packed: Packed) -> Tensor:
    """Return the same on a GPU, in one operation."""
    longest = max(length for _, length in packed.shapes)
    ends = (packed.starts, packed.starts, longest, longest)
    attended = varlen_attn(query, key, value, *ends, window_size=(-1, 0))
    assert isinstance(attended, Tensor)
    return attended.flatten(1)
