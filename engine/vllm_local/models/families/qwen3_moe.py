"""Qwen3-MoE: Qwen3 with a mixture of experts in some layers, in most models all.

Fields and names are those of transformers' `Qwen3MoeConfig` and of the checkpoints on the hub, which `save_pretrained`
writes alike.
"""

from __future__ import annotations

from dataclasses import replace

from vllm_local.errors import CorruptModelError
from vllm_local.kernels.interface import AttentionSpec
from vllm_local.models.config_fields import ConfigFields
from vllm_local.models.families.llama import read_attention, read_llama_like
from vllm_local.models.families.mixtral import MAX_EXPERTS
from vllm_local.models.families.qwen3 import QWEN3_NAMES
from vllm_local.models.model_config import DecoderConfig, ExpertNames, MixtureSpec

EXPERT_NAMES = ExpertNames(
    router="model.layers.{}.mlp.gate",
    gate="model.layers.{}.mlp.experts.{}.gate_proj",
    up="model.layers.{}.mlp.experts.{}.up_proj",
    down="model.layers.{}.mlp.experts.{}.down_proj",
)


def read_config(fields: ConfigFields) -> DecoderConfig:
    """Reads a Qwen3-MoE's config.json."""
    attention_bias = fields.boolean("attention_bias", default=False)
    num_layers = fields.integer("num_hidden_layers", maximum=4096)
    config = read_llama_like(
        fields,
        attention=(_read_attention(fields),) * num_layers,
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        names=QWEN3_NAMES,
    )
    return replace(config, mixture=_read_mixture(fields, num_layers))


def _read_attention(fields: ConfigFields) -> AttentionSpec:
    spec = read_attention(fields)
    # Unlike the dense Qwen3, all layers have the window or none.
    if not fields.boolean("use_sliding_window", default=False):
        return spec
    return replace(spec, sliding_window=fields.integer("sliding_window", default=4096))


def _read_mixture(fields: ConfigFields, num_layers: int) -> MixtureSpec:
    # On the hub it is num_experts; transformers 5 writes num_local_experts.
    key = "num_local_experts" if "num_local_experts" in fields else "num_experts"
    num_experts = fields.integer(key, default=128, maximum=MAX_EXPERTS)
    return MixtureSpec(
        layers=_read_layers(fields, num_layers),
        num_experts=num_experts,
        top_k=fields.integer("num_experts_per_tok", default=8, maximum=num_experts),
        intermediate_size=fields.integer("moe_intermediate_size", default=768),
        normalises=fields.boolean("norm_topk_prob", default=False),
        names=EXPERT_NAMES,
    )


def _read_layers(fields: ConfigFields, num_layers: int) -> frozenset[int]:
    """Reads which layers have experts: every `decoder_sparse_step`-th, but those of `mlp_only_layers`."""
    dense = fields.value("mlp_only_layers", [])
    if not isinstance(dense, list) or not all(isinstance(layer, int) for layer in dense):
        raise CorruptModelError(f"{fields.source}: mlp_only_layers must be a list of whole numbers, got {dense!r}.")
    step = fields.integer("decoder_sparse_step", default=1)
    return frozenset(range(step - 1, num_layers, step)) - frozenset(dense)
