"""The model families: one small file each says which config field means what and which weight goes where.

To add one, write a module with `read_config(fields: ConfigFields) -> DecoderConfig` and name its architectures here.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from vllm_local.errors import CorruptModelError, UnsupportedModelError
from vllm_local.models.config_fields import ConfigFields
from vllm_local.models.model_config import DecoderConfig

FAMILIES: Mapping[str, str] = {
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "MixtralForCausalLM": "mixtral",
    "MptForCausalLM": "mpt",
    "MPTForCausalLM": "mpt",
}
"""Module of this package by architecture, as config.json names it."""


def read_decoder_config(fields: ConfigFields) -> DecoderConfig:
    """Reads a model's config with its family's reader.

    Raises:
        UnsupportedModelError: No family has the architecture, or the weights are quantised.
        CorruptModelError: A field is missing or makes no sense.
    """
    architectures = fields.value("architectures")
    if not isinstance(architectures, list) or not all(isinstance(item, str) for item in architectures):
        raise CorruptModelError(f"{fields.source}: architectures must be a list of names, got {architectures!r}.")
    known = [name for name in architectures if name in FAMILIES]
    if not known:
        message = (
            f"{fields.source}: architecture {', '.join(architectures) or '(none)'} is not supported. This engine runs "
            f"{', '.join(FAMILIES)}; others need a server, such as vLLM's."
        )
        raise UnsupportedModelError(message)
    fields.require("quantization_config")
    family = importlib.import_module(f"{__name__}.{FAMILIES[known[0]]}")
    config: DecoderConfig = family.read_config(fields)
    return config
