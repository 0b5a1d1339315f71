"""What a bench model's work costs at least: bytes to read and operations to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NUMBER_BYTES = 2
"""Weights, K and V are bfloat16 (llama.cpp's K and V: float16)."""
_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads")


@dataclass(frozen=True)
class ModelCost:
    """A decoder's sizes.

    Attributes:
        layer_weights: Numbers in the linears of all layers.
        head_weights: Numbers in the output's linear, which is the embedding too.
        cached_numbers: K and V of one token, in all layers.
        attention_operations: Of one token with one other, in all layers.
    """

    layer_weights: int
    head_weights: int
    cached_numbers: int
    attention_operations: int

    @classmethod
    def of(cls, config: dict[str, Any]) -> ModelCost:
        """Reads a configuration of `models.py`."""
        hidden, layers, heads = (
            config[f"{name}"] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")
        )
        head_size = config.get("head_dim") or hidden // heads
        of_keys = config["num_key_value_heads"] * head_size
        attention = 2 * hidden * (heads * head_size + of_keys)
        return cls(
            layer_weights=layers * (attention + 3 * hidden * config["intermediate_size"]),
            head_weights=hidden * config["vocab_size"],
            cached_numbers=2 * layers * of_keys,
            attention_operations=4 * layers * heads * head_size,
        )

    def decode(self, batch: int, context: int) -> tuple[int, int]:
        """Returns bytes and operations of a step of so many requests: all weights, and their K and V, once."""
        weights = self.layer_weights + self.head_weights
        numbers = weights + batch * context * self.cached_numbers
        operations = batch * (2 * weights + context * self.attention_operations)
        return NUMBER_BYTES * numbers, operations

    def prefill(self, num_tokens: int) -> tuple[int, int]:
        """Returns those of a prompt; each token attends to those before it, the last one has logits."""
        pairs = num_tokens * (num_tokens + 1) // 2
        operations = 2 * (num_tokens * self.layer_weights + self.head_weights) + pairs * self.attention_operations
        return NUMBER_BYTES * (self.layer_weights + self.head_weights), operations
