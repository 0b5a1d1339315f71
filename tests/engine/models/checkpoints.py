"""Small random models, built and saved by transformers: the reference of the parity tests."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

VOCAB_SIZE = 199
SMALL = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SMALL_QWEN3_MOE = SMALL | {
    "head_dim": 16,
    "moe_intermediate_size": 24,
    "num_experts": 7,
    "num_experts_per_tok": 3,
    "mlp_only_layers": [0],
}
SMALL_MPT = {"vocab_size": VOCAB_SIZE, "d_model": 48, "n_layers": 2, "max_seq_len": 256, "initializer_range": 0.3}

# name → (class of transformers, changes to the small config)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-gqa": ("Llama", SMALL),
    "llama-mha-bias": ("Llama", SMALL | {"num_key_value_heads": 6, "attention_bias": True, "mlp_bias": True}),
    "llama-mqa-tied": ("Llama", SMALL | {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "llama-llama3-rope": ("Llama", SMALL | {"rope_parameters": LLAMA3}),
    "llama-linear-rope": (
        "Llama",
        SMALL | {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}},
    ),
    "llama-own-head-size": ("Llama", SMALL | {"head_dim": 18, "hidden_act": "gelu_pytorch_tanh"}),
    "qwen2-gqa": ("Qwen2", SMALL),
    "qwen2-mha-tied": ("Qwen2", SMALL | {"num_key_value_heads": 6, "tie_word_embeddings": True}),
    "qwen2-sliding-window": (
        "Qwen2",
        SMALL | {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    ),
    "qwen3-gqa": ("Qwen3", SMALL | {"head_dim": 16}),
    "qwen3-bias-tied": ("Qwen3", SMALL | {"head_dim": 32, "attention_bias": True, "tie_word_embeddings": True}),
    "qwen3-moe": ("Qwen3Moe", SMALL_QWEN3_MOE),
    "qwen3-moe-normalised-tied": (
        "Qwen3Moe",
        SMALL_QWEN3_MOE | {"norm_topk_prob": True, "decoder_sparse_step": 2, "tie_word_embeddings": True},
    ),
    "mixtral": ("Mixtral", SMALL | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 9}),
    "mpt-8-heads": ("Mpt", SMALL_MPT | {"n_heads": 8}),
    "mpt-6-heads-clip": (
        "Mpt",
        SMALL_MPT | {"n_heads": 6, "attn_config": {"clip_qkv": 0.8, "softmax_scale": 0.21}},
    ),
    "mpt-ignored-by-transformers": (
        "Mpt",
        SMALL_MPT
        | {"n_heads": 4, "expansion_ratio": 2, "logit_scale": "inv_sqrt_d_model", "attn_config": {"alibi_bias_max": 5}},
    ),
}


def build_reference(name: str) -> Any:
    """Returns transformers' model in float32 with random weights; biases and norms are random too."""
    import transformers

    family, fields = MODELS[name]
    torch.manual_seed(sum(map(ord, name)))
    config = getattr(transformers, f"{family}Config")(**fields)
    if family != "Mpt":
        config._attn_implementation = "eager"
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    if family == "Mpt":
        _apply_ignored_fields(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def _apply_ignored_fields(model: Any) -> None:
    """Gives transformers' MPT what llm-foundry's makes of three fields that transformers ignores."""
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    config = model.config
    size, inner = config.d_model, config.d_model * config.expansion_ratio
    for block in model.transformer.blocks:
        block.ffn.up_proj = torch.nn.Linear(size, inner, bias=False)
        block.ffn.down_proj = torch.nn.Linear(inner, size, bias=False)
        torch.nn.init.normal_(block.ffn.up_proj.weight, std=0.3)
        torch.nn.init.normal_(block.ffn.down_proj.weight, std=0.3)
    bias_max = config.attn_config.alibi_bias_max
    model.transformer.build_mpt_alibi_tensor = lambda heads, length, device=None: build_mpt_alibi_tensor(
        heads, length, bias_max, device
    )
    if config.logit_scale == "inv_sqrt_d_model":
        model.lm_head.register_forward_hook(lambda module, inputs, logits: logits * size**-0.5)


def save_reference(name: str, folder: Path, *, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """Saves it as users' checkpoints are saved; returns a model that computes with those weights in float32."""
    model = build_reference(name)
    copy.deepcopy(model).to(dtype).save_pretrained(folder, **options)
    with torch.no_grad():
        for parameter in model.parameters():  # not .to(dtype).float(), which would round the rotary angles as well
            parameter.copy_(parameter.to(dtype))
    return model
