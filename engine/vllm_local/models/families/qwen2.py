"""Qwen2 and Qwen2.5: Llama with biases on Q, K and V, and optionally a sliding window in the upper layers.

Fields and names are those of transformers' `Qwen2Config` and `Qwen2ForCausalLM`.
"""

from __future__ import annotations

from dataclasses import replace

from vllm_local.errors import CorruptModelError
from vllm_local.kernels.interface import AttentionSpec
from vllm_local.models.config_fields import ConfigFields
from vllm_local.models.families.llama import read_attention, read_llama_like
from vllm_local.models.model_config import DecoderConfig


def read_config(fields: ConfigFields) -> DecoderConfig:
    """Reads a Qwen2's config.json."""
    return read_llama_like(fields, attention=with_windows(fields, read_attention(fields)), qkv_bias=True)


def with_windows(fields: ConfigFields, spec: AttentionSpec) -> tuple[AttentionSpec, ...]:
    """Returns one spec a layer, with the sliding window where `use_sliding_window` and `layer_types` say so.

    Without `layer_types` (transformers 4), the layers from `max_window_layers` on have it.
    """
    num_layers = fields.integer("num_hidden_layers", maximum=4096)
    if not fields.boolean("use_sliding_window", default=False):
        return (spec,) * num_layers
    windowed = replace(spec, sliding_window=fields.integer("sliding_window", default=4096))
    if "layer_types" in fields:
        kinds = fields.value("layer_types")
        by_kind = {"full_attention": spec, "sliding_attention": windowed}
        known = isinstance(kinds, list) and all(isinstance(kind, str) and kind in by_kind for kind in kinds)
        if not known or len(kinds) != num_layers:
            wanted = f"{num_layers} words, each one of {', '.join(by_kind)}"
            raise CorruptModelError(f"{fields.source}: layer_types must be {wanted}, got {kinds!r}.")
        return tuple(by_kind[kind] for kind in kinds)
    first = fields.integer("max_window_layers", default=28, minimum=0)
    return tuple(windowed if layer >= first else spec for layer in range(num_layers))
