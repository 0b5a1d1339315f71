"""The `<think>` family, and the same with other tags."""

from __future__ import annotations

from vllm_local.chat.reasoning_formats.tags import TaggedReasoning


class Think(TaggedReasoning):
    """Qwen 3, DeepSeek R1 and V3.1, GLM, the starter model and most others."""

    name = "think"
    vllm_parser_names = (
        *("qwen3", "deepseek_r1", "deepseek_v3", "glm45", "glm47", "granite_thinking_parser", "hunyuan_a13b"),
        *("holo2", "kimi_k2", "mimo", "minimax_m2", "nemotron_v3", "olmo3", "step3", "step3p5"),
    )
    starts = ("<think>",)
    ends = ("</think>",)
    markers = ("<think>", "</think>")
    end = "</think>"


class MistralThink(TaggedReasoning):
    """Magistral and its successors."""

    name = "mistral"
    vllm_parser_names = ("mistral",)
    starts = ("[THINK]",)
    ends = ("[/THINK]",)
    markers = ("[THINK]", "[/THINK]")
    end = "[/THINK]"


class SeedThink(TaggedReasoning):
    """Seed-OSS."""

    name = "seed_oss"
    vllm_parser_names = ("seed_oss",)
    starts = ("<seed:think>",)
    ends = ("</seed:think>",)
    markers = ("<seed:think>", "</seed:think>")
    end = "</seed:think>"


class CohereThink(TaggedReasoning):
    """Command A Reasoning."""

    name = "cohere"
    vllm_parser_names = ("cohere_command3", "cohere_command4")
    starts = ("<|START_THINKING|>",)
    ends = ("<|END_THINKING|>",)
    markers = ("<|START_THINKING|>", "<|END_THINKING|>")
    end = "<|END_THINKING|>"
