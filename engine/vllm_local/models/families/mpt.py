"""MPT (mosaicml/mpt-7b and its kin): ALiBi instead of rotation, layer norms, no biases, a fused Wqkv, a tied head.

Fields and names are those of transformers' `MptConfig` and `MptForCausalLM`; `logit_scale`, `expansion_ratio` and
`alibi_bias_max`, which transformers reads and ignores, mean what they mean in https://github.com/mosaicml/llm-foundry.
"""

from __future__ import annotations

from collections.abc import Mapping

from vllm_local.errors import CorruptModelError
from vllm_local.kernels.interface import AttentionSpec
from vllm_local.layers.alibi import alibi_slopes
from vllm_local.models.config_fields import ConfigFields
from vllm_local.models.model_config import DecoderConfig, WeightNames

NAMES = WeightNames(
    embedding="transformer.wte",
    attention_norm="transformer.blocks.{}.norm_1",
    qkv=("transformer.blocks.{}.attn.Wqkv",),
    out="transformer.blocks.{}.attn.out_proj",
    mlp_norm="transformer.blocks.{}.norm_2",
    up=("transformer.blocks.{}.ffn.up_proj",),
    down="transformer.blocks.{}.ffn.down_proj",
    final_norm="transformer.norm_f",
)

# What the published models say of the variants that llm-foundry knows; any other value is another computation.
_FIXED: Mapping[str, tuple[object, ...]] = {
    "no_bias": (True,),
    "norm_type": ("low_precision_layernorm", "layernorm"),
    "ffn_config": ({}, {"ffn_type": "mptmlp"}),
}
_FIXED_ATTENTION: Mapping[str, tuple[object, ...]] = {
    "alibi": (True,),
    "attn_type": ("multihead_attention",),
    "prefix_lm": (False,),
    "qk_ln": (False,),
    "qk_gn": (False,),
    "rope": (False,),
    "attn_uses_sequence_id": (False,),
    "sliding_window_size": (-1,),
}


def read_config(fields: ConfigFields) -> DecoderConfig:
    """Reads an MPT's config.json."""
    for name, allowed in _FIXED.items():
        fields.require(name, *allowed)
    hidden_size = fields.integer("d_model")
    return DecoderConfig(
        architecture=fields.value("architectures")[0],
        vocab_size=fields.integer("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=int(fields.number("expansion_ratio", default=4) * hidden_size),
        max_position_embeddings=fields.integer("max_seq_len", minimum=2),
        attention=(_read_attention(fields, hidden_size),) * fields.integer("n_layers", maximum=4096),
        norm="layer",
        norm_eps=fields.number("layer_norm_epsilon", default=1e-5),
        activation="gelu",
        tie_word_embeddings=fields.boolean("tie_word_embeddings", default=True),
        logit_scale=_read_logit_scale(fields, hidden_size),
        names=NAMES,
    )


def _read_attention(fields: ConfigFields, hidden_size: int) -> AttentionSpec:
    attention = fields.mapping("attn_config")
    for name, allowed in _FIXED_ATTENTION.items():
        attention.require(name, *allowed)
    num_heads = fields.integer("n_heads", maximum=65536)
    attention.require("kv_n_heads", num_heads)
    if hidden_size % num_heads:
        raise CorruptModelError(f"{fields.source}: d_model={hidden_size} is no multiple of n_heads={num_heads}.")
    head_size = hidden_size // num_heads
    clip = attention.number("clip_qkv", default=0.0, above=-1e-9)
    return AttentionSpec(
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_size=head_size,
        softmax_scale=attention.number("softmax_scale", default=head_size**-0.5),
        alibi_slopes=alibi_slopes(num_heads, attention.number("alibi_bias_max", default=8)),
        qkv_clip=clip or None,
    )


def _read_logit_scale(fields: ConfigFields, hidden_size: int) -> float:
    if fields.value("logit_scale", None) == "inv_sqrt_d_model":
        return float(hidden_size**-0.5)
    return fields.number("logit_scale", default=1.0)
