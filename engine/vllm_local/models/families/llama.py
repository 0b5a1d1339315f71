"""Llama (1 to 3.3, TinyLlama, SmolLM2, …), and what its descendants share with it.

Fields and names are those of transformers' `LlamaConfig` and `LlamaForCausalLM`.
"""

from __future__ import annotations

from collections.abc import Mapping

from vllm_local.errors import CorruptModelError
from vllm_local.kernels.interface import Activation, AttentionSpec
from vllm_local.layers.rotary import LinearScaling, Llama3Scaling, RotaryScaling, rotary_frequencies
from vllm_local.models.config_fields import ConfigFields
from vllm_local.models.model_config import DecoderConfig, WeightNames

ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "relu": "relu",
}
"""Activations by their names in `hidden_act`."""

NAMES = WeightNames(
    embedding="model.embed_tokens",
    attention_norm="model.layers.{}.input_layernorm",
    qkv=tuple(f"model.layers.{{}}.self_attn.{part}_proj" for part in "qkv"),
    out="model.layers.{}.self_attn.o_proj",
    mlp_norm="model.layers.{}.post_attention_layernorm",
    up=("model.layers.{}.mlp.gate_proj", "model.layers.{}.mlp.up_proj"),
    down="model.layers.{}.mlp.down_proj",
    final_norm="model.norm",
)


def read_config(fields: ConfigFields) -> DecoderConfig:
    """Reads a Llama's config.json."""
    attention_bias = fields.boolean("attention_bias", default=False)
    return read_llama_like(
        fields,
        attention=(read_attention(fields),) * fields.integer("num_hidden_layers", maximum=4096),
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        mlp_bias=fields.boolean("mlp_bias", default=False),
    )


def read_llama_like(
    fields: ConfigFields,
    *,
    attention: tuple[AttentionSpec, ...],
    qkv_bias: bool,
    out_bias: bool = False,
    mlp_bias: bool = False,
    names: WeightNames = NAMES,
) -> DecoderConfig:
    """Reads what Llama and its descendants have in common."""
    return DecoderConfig(
        architecture=fields.value("architectures")[0],
        vocab_size=fields.integer("vocab_size"),
        hidden_size=fields.integer("hidden_size"),
        intermediate_size=fields.integer("intermediate_size"),
        max_position_embeddings=fields.integer("max_position_embeddings", minimum=2),
        attention=attention,
        norm="rms",
        norm_eps=fields.number("rms_norm_eps", default=1e-6),
        activation=fields.choice("hidden_act", ACTIVATIONS, default="silu"),
        qkv_bias=qkv_bias,
        out_bias=out_bias,
        mlp_bias=mlp_bias,
        tie_word_embeddings=fields.boolean("tie_word_embeddings", default=False),
        names=names,
    )


def read_attention(
    fields: ConfigFields, *, default_head_size: int | None = None, default_theta: float = 10000.0
) -> AttentionSpec:
    """Reads heads and rotation.

    Args:
        fields: The config.
        default_head_size: Of families that do not derive it from the hidden size.
        default_theta: The rotation's base where the config states none.
    """
    num_heads = fields.integer("num_attention_heads", maximum=65536)
    num_kv_heads = fields.integer("num_key_value_heads", default=num_heads, maximum=num_heads)
    if num_heads % num_kv_heads:
        message = f"num_attention_heads={num_heads} is no multiple of num_key_value_heads={num_kv_heads}"
        raise CorruptModelError(f"{fields.source}: {message}.")
    head_size = read_head_size(fields, num_heads, default_head_size)
    return AttentionSpec(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_size=head_size,
        softmax_scale=head_size**-0.5,
        rotary_frequencies=_read_frequencies(fields, head_size, default_theta),
    )


def read_head_size(fields: ConfigFields, num_heads: int, default: int | None = None) -> int:
    """Reads head_dim, or derives it from the hidden size; rotation needs it even."""
    hidden_size = fields.integer("hidden_size")
    if "head_dim" not in fields and default is None and hidden_size % num_heads:
        message = (
            f"hidden_size={hidden_size} is no multiple of num_attention_heads={num_heads}, and there is no head_dim"
        )
        raise CorruptModelError(f"{fields.source}: {message}.")
    head_size = fields.integer("head_dim", default=default or hidden_size // num_heads, maximum=65536)
    if head_size % 2:
        raise CorruptModelError(f"{fields.source}: head_dim={head_size} is odd, which rotary embedding cannot be.")
    return head_size


def _read_frequencies(fields: ConfigFields, head_size: int, default_theta: float) -> tuple[float, ...]:
    """Reads `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (4)."""
    rope = fields.mapping("rope_parameters" if "rope_parameters" in fields else "rope_scaling")
    theta = (rope if "rope_theta" in rope else fields).number("rope_theta", default=default_theta, above=1.0)
    for place in (rope, fields):
        place.require("partial_rotary_factor", 1, 1.0)
    for layer_type in ("full_attention", "sliding_attention"):
        rope.require(layer_type)
    return rotary_frequencies(head_size, theta, _read_scaling(rope, fields))


def _read_scaling(rope: ConfigFields, fields: ConfigFields) -> RotaryScaling | None:
    key = "rope_type" if "rope_type" in rope else "type"
    kind = rope.choice(key, {name: name for name in ("default", "linear", "llama3")}, default="default")
    if kind == "default":
        return None
    factor = rope.number("factor")
    if kind == "linear":
        return LinearScaling(factor=factor)
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    if low >= high:
        message = f"low_freq_factor={low} must be less than high_freq_factor={high}"
        raise CorruptModelError(f"{rope.source}: {message}.")
    context = fields.integer("max_position_embeddings")
    return Llama3Scaling(
        factor=factor,
        low_freq_factor=low,
        high_freq_factor=high,
        original_max_position_embeddings=rope.integer("original_max_position_embeddings", default=context),
    )
