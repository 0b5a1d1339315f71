"""Qwen3 (dense): Qwen2 with a norm on every Q and K head, and biases only where `attention_bias` says so.

Fields and names are those of transformers' `Qwen3Config` and `Qwen3ForCausalLM`.
"""

from __future__ import annotations

from dataclasses import replace

from vllm_local.models.config_fields import ConfigFields
from vllm_local.models.families.llama import NAMES, read_attention, read_llama_like
from vllm_local.models.families.qwen2 import with_windows
from vllm_local.models.model_config import DecoderConfig

QWEN3_NAMES = replace(
    NAMES,
    q_norm="model.layers.{}.self_attn.q_norm",
    k_norm="model.layers.{}.self_attn.k_norm",
)


def read_config(fields: ConfigFields) -> DecoderConfig:
    """Reads a Qwen3's config.json; its heads have 128 numbers unless `head_dim` says otherwise."""
    attention_bias = fields.boolean("attention_bias", default=False)
    return read_llama_like(
        fields,
        attention=with_windows(fields, read_attention(fields, default_head_size=128)),
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        names=QWEN3_NAMES,
    )
