"""What each family makes of config.json, published ones included."""

import subprocess
import sys
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from vllm_local.errors import CorruptModelError, ModelLoadError, UnsupportedModelError
from vllm_local.layers.rotary import rotary_frequencies
from vllm_local.models.config_fields import ConfigFields
from vllm_local.models.families import FAMILIES, read_decoder_config
from vllm_local.models.model_config import DecoderConfig

# As published on the hub, shortened to what a model has to be read by.
LLAMA_32_1B = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}
QWEN25_05B = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_act": "silu",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "max_window_layers": 21,
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN3_06B = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
MPT_7B = {
    "architectures": ["MPTForCausalLM"],
    "attn_config": {
        "alibi": True,
        "alibi_bias_max": 8,
        "attn_impl": "torch",
        "attn_pdrop": 0,
        "attn_type": "multihead_attention",
        "attn_uses_sequence_id": False,
        "clip_qkv": None,
        "prefix_lm": False,
        "qk_ln": False,
        "softmax_scale": None,
    },
    "auto_map": {"AutoModelForCausalLM": "modeling_mpt.MPTForCausalLM"},
    "d_model": 4096,
    "embedding_fraction": 1.0,
    "expansion_ratio": 4,
    "learned_pos_emb": True,
    "logit_scale": None,
    "max_seq_len": 2048,
    "n_heads": 32,
    "n_layers": 32,
    "no_bias": True,
    "norm_type": "low_precision_layernorm",
    "torch_dtype": "bfloat16",
    "vocab_size": 50432,
}
QWEN3_30B_A3B = QWEN3_06B | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "decoder_sparse_step": 1,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "max_window_layers": 48,
    "mlp_only_layers": [],
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "num_attention_heads": 32,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}
MIXTRAL_8X7B = {
    "architectures": ["MixtralForCausalLM"],
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
}
PUBLISHED = [LLAMA_32_1B, QWEN25_05B, QWEN3_06B, QWEN3_30B_A3B, MIXTRAL_8X7B, MPT_7B]


def read(fields: dict[str, Any], **changes: Any) -> DecoderConfig:
    merged = {name: value for name, value in (fields | changes).items() if value != "absent"}
    return read_decoder_config(ConfigFields(merged, "config.json"))


def num_parameters(config: DecoderConfig) -> int:
    total = 0
    for shape in config.weight_shapes().values():
        total += shape[0] * (shape[1] if len(shape) == 2 else 1)
    return total


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (LLAMA_32_1B, 1_235_814_400),
        (QWEN25_05B, 494_032_768),
        (QWEN3_06B, 596_049_920),
        (QWEN3_30B_A3B, 30_532_122_624),
        (MIXTRAL_8X7B, 46_702_792_704),
        (MPT_7B, 6_649_286_656),
    ],
    ids=["Llama 3.2 1B", "Qwen2.5 0.5B", "Qwen3 0.6B", "Qwen3 30B A3B", "Mixtral 8x7B", "MPT 7B"],
)
def test_published_models_have_their_published_size(fields: dict[str, Any], wanted: int):
    assert num_parameters(read(fields)) == wanted


def test_sizes_of_the_kv_cache():
    info = read(QWEN25_05B).info
    (group,) = info.kv_cache_groups
    assert (group.num_kv_heads, group.k_head_size, len(group.layers)) == (2, 64, 24)
    assert (info.max_position_embeddings, info.vocab_size, info.architecture) == (32768, 151936, "Qwen2ForCausalLM")


def test_biases():
    config = read(LLAMA_32_1B, attention_bias=True, mlp_bias=True)
    assert (config.qkv_bias, config.out_bias, config.mlp_bias) == (True, True, True)
    config = read(QWEN25_05B)
    assert (config.qkv_bias, config.out_bias, config.mlp_bias) == (True, False, False)
    config = read(QWEN3_06B, attention_bias=True)
    assert (config.qkv_bias, config.out_bias, config.mlp_bias) == (True, True, False)


def test_head_size_is_derived_where_it_is_absent():
    assert read(LLAMA_32_1B, head_dim="absent", num_attention_heads=16).attention[0].head_size == 128
    assert read(QWEN3_06B, head_dim="absent").attention[0].head_size == 128
    assert read(LLAMA_32_1B, num_key_value_heads="absent").attention[0].num_kv_heads == 32


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        {"rope_theta": "absent", "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}},
    ],
    ids=["transformers 4, early", "transformers 4", "transformers 5"],
)
def test_spellings_of_rope(changes: dict[str, Any]):
    frequencies = read(LLAMA_32_1B, **changes).attention[0].rotary_frequencies
    assert frequencies == tuple(f / 2 for f in rotary_frequencies(64, 5e5))


def test_rope_without_scaling():
    config = read(LLAMA_32_1B, rope_theta="absent", rope_scaling=None)
    assert config.attention[0].rotary_frequencies == rotary_frequencies(64, 10000.0)


@pytest.mark.parametrize("kind", ["dynamic", "yarn", "longrope", "made-up"])
def test_unknown_rope_types_are_named(kind: str):
    with pytest.raises(UnsupportedModelError, match=f"rope_type='{kind}'"):
        read(LLAMA_32_1B, rope_scaling={"rope_type": kind, "factor": 2.0})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hidden_size": "absent"}, "hidden_size"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ({"num_attention_heads": "32"}, "num_attention_heads"),
        ({"num_key_value_heads": 5}, "num_key_value_heads=5"),
        ({"num_key_value_heads": 64}, "num_key_value_heads"),
        ({"head_dim": 63}, "head_dim=63"),
        ({"head_dim": "absent", "num_attention_heads": 24, "num_key_value_heads": 8}, "hidden_size=2048"),
        ({"rms_norm_eps": -1}, "rms_norm_eps"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor"),
        ({"rope_scaling": {**LLAMA_32_1B["rope_scaling"], "high_freq_factor": 1.0}}, "low_freq_factor"),  # type: ignore[dict-item]
        ({"rope_scaling": [1]}, "rope_scaling"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"architectures": "LlamaForCausalLM"}, "architectures"),
        ({"architectures": "absent"}, "architectures"),
    ],
)
def test_fields_that_make_no_sense_are_named(changes: dict[str, Any], named: str):
    with pytest.raises(CorruptModelError, match=named):
        read(LLAMA_32_1B, **changes)


@pytest.mark.parametrize(
    ("fields", "changes", "named"),
    [
        (LLAMA_32_1B, {"architectures": ["WhisperForConditionalGeneration"]}, "Whisper.*Llama.*need a server"),
        (LLAMA_32_1B, {"architectures": []}, "none"),
        (LLAMA_32_1B, {"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
        (LLAMA_32_1B, {"hidden_act": "swiglu"}, "hidden_act='swiglu'"),
        (LLAMA_32_1B, {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        (QWEN3_06B, {"rope_parameters": {"full_attention": {"rope_theta": 5.0}}}, "full_attention"),
        (MPT_7B, {"no_bias": False}, "no_bias"),
        (MPT_7B, {"norm_type": "rmsnorm"}, "norm_type"),
        *(
            (MPT_7B, {"attn_config": {name: value}}, name)
            for name, value in {
                "alibi": False,
                "attn_type": "multiquery_attention",
                "prefix_lm": True,
                "qk_ln": True,
                "rope": True,
                "attn_uses_sequence_id": True,
                "sliding_window_size": 128,
                "kv_n_heads": 8,
            }.items()
        ),
    ],
)
def test_variants_that_are_not_implemented_are_named(fields: dict[str, Any], changes: dict[str, Any], named: str):
    with pytest.raises(UnsupportedModelError, match=named):
        read(fields, **changes)


def test_sliding_windows():
    assert {spec.sliding_window for spec in read(QWEN25_05B).attention} == {None}
    config = read(QWEN25_05B, use_sliding_window=True, sliding_window=64)
    assert [spec.sliding_window for spec in config.attention] == [None] * 21 + [64] * 3
    kinds = ["sliding_attention", *["full_attention"] * 23]
    config = read(QWEN25_05B, use_sliding_window=True, sliding_window=64, layer_types=kinds)
    assert [spec.sliding_window for spec in config.attention] == [64] + [None] * 23
    wrongs: list[Any] = [kinds[1:], ["other"] * 24, "full_attention", [[]] * 24]
    for wrong in wrongs:
        with pytest.raises(CorruptModelError, match="layer_types"):
            read(QWEN25_05B, use_sliding_window=True, layer_types=wrong)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, set(range(48))),
        ({"decoder_sparse_step": 20}, {19, 39}),
        ({"decoder_sparse_step": 16, "mlp_only_layers": [0, 31]}, {15, 47}),
        ({"mlp_only_layers": list(range(48))}, set()),
    ],
)
def test_which_layers_have_experts(changes: dict[str, Any], wanted: set[int]):
    config = read(QWEN3_30B_A3B, **changes)
    assert config.mixture is not None
    assert config.mixture.layers == wanted
    assert {layer for layer in range(48) if config.mixture_of(layer) is not None} == wanted
    experts = {name.split(".")[2] for name in config.weight_shapes() if ".experts." in name}
    assert experts == {str(layer) for layer in wanted}


def test_fields_of_mixtures():
    renamed = read(QWEN3_30B_A3B, num_experts="absent", num_local_experts=128)
    assert renamed == read(QWEN3_30B_A3B)
    assert renamed.mixture is not None
    assert (renamed.mixture.num_experts, renamed.mixture.top_k, renamed.mixture.normalises) == (128, 8, True)
    plain = read(QWEN3_30B_A3B, norm_topk_prob="absent", use_sliding_window=True, sliding_window=64)
    assert plain.mixture is not None
    assert not plain.mixture.normalises
    assert {spec.sliding_window for spec in plain.attention} == {64}
    assert read(MIXTRAL_8X7B, rope_theta="absent") == read(MIXTRAL_8X7B)
    assert {spec.sliding_window for spec in read(MIXTRAL_8X7B, sliding_window=4096).attention} == {4096}
    wrongs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (QWEN3_30B_A3B, {"num_experts_per_tok": 129}),
        (QWEN3_30B_A3B, {"mlp_only_layers": [0, "1"]}),
        (MIXTRAL_8X7B, {"num_local_experts": 0}),
    ]
    for fields, changes in wrongs:
        with pytest.raises(CorruptModelError, match=next(iter(changes))):
            read(fields, **changes)


def test_mpt_fields():
    config = read(MPT_7B, logit_scale="inv_sqrt_d_model", expansion_ratio=3, attn_config={"clip_qkv": 8})
    assert config.logit_scale == 1 / 64
    assert config.intermediate_size == 3 * 4096
    assert config.attention[0].qkv_clip == 8
    assert config.attention[0].softmax_scale == 128**-0.5
    assert config.tie_word_embeddings
    assert read(MPT_7B, logit_scale=0.25).logit_scale == 0.25
    assert read(MPT_7B, architectures=["MptForCausalLM"]).attention == read(MPT_7B).attention
    assert read(MPT_7B, attn_config={"clip_qkv": 0}).attention[0].qkv_clip is None
    with pytest.raises(CorruptModelError, match="d_model=4096"):
        read(MPT_7B, n_heads=31)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@hypothesis.given(data=st.data(), fields=st.sampled_from(PUBLISHED))
def test_any_value_of_any_field_is_read_or_refused(data: st.DataObject, fields: dict[str, Any]):
    changed = {**fields, "rope_scaling": dict(fields.get("rope_scaling") or {})}
    place = data.draw(st.sampled_from([changed, *(value for value in changed.values() if isinstance(value, dict))]))
    names = [*place, "rope_theta", "rope_type", "factor", "use_sliding_window", "layer_types", "rope_parameters"]
    place[data.draw(st.sampled_from(names))] = data.draw(JSON)
    try:
        config = read_decoder_config(ConfigFields(changed, "config.json"))
    except ModelLoadError:
        return
    assert config.num_layers >= 1
    assert num_parameters(config) > 0


def test_every_architecture_names_a_family():
    for architecture in FAMILIES:
        with pytest.raises(CorruptModelError, match="has no"):
            read({}, architectures=[architecture])


def test_configs_are_read_without_torch():
    code = (
        "import sys; from vllm_local.models.families import read_decoder_config, llama, mpt, qwen2, qwen3;"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, env={"PYTHONPATH": ":".join(sys.path)}).returncode
        == 0
    )
