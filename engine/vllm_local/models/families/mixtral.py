"""Mixtral: Llama with a mixture of experts in every layer.

Fields and names are those of transformers' `MixtralConfig` and of the checkpoints on the hub, which `save_pretrained`
writes alike.
"""

from __future__ import annotations

from dataclasses import replace

from vllm_local.models.config_fields import ConfigFields
from vllm_local.models.families.llama import read_attention, read_llama_like
from vllm_local.models.model_config import DecoderConfig, ExpertNames, MixtureSpec

MAX_EXPERTS = 1024
"""Bound of the experts of a layer: above every published model's."""

EXPERT_NAMES = ExpertNames(
    router="model.layers.{}.block_sparse_moe.gate",
    gate="model.layers.{}.block_sparse_moe.experts.{}.w1",
    up="model.layers.{}.block_sparse_moe.experts.{}.w3",
    down="model.layers.{}.block_sparse_moe.experts.{}.w2",
)


def read_config(fields: ConfigFields) -> DecoderConfig:
    """Reads a Mixtral's config.json."""
    attention = read_attention(fields, default_theta=1e6)
    if "sliding_window" in fields:
        attention = replace(attention, sliding_window=fields.integer("sliding_window"))
    num_layers = fields.integer("num_hidden_layers", maximum=4096)
    config = read_llama_like(fields, attention=(attention,) * num_layers, qkv_bias=False)
    return replace(config, mixture=_read_mixture(fields, config))


def _read_mixture(fields: ConfigFields, config: DecoderConfig) -> MixtureSpec:
    num_experts = fields.integer("num_local_experts", default=8, maximum=MAX_EXPERTS)
    return MixtureSpec(
        layers=frozenset(range(config.num_layers)),
        num_experts=num_experts,
        top_k=fields.integer("num_experts_per_tok", default=2, maximum=num_experts),
        intermediate_size=config.intermediate_size,
        normalises=True,
        names=EXPERT_NAMES,
    )
