"""A layer is a fixed list of kernel calls on its own weights."""

from typing import Any

from vllm_local.layers.decoder_layer import DecoderLayer
from vllm_local.layers.feed_forward import DenseNetwork, ExpertMixture, FeedForward


class RecordingKernels:
    """Writes down every call; results are named after it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: str) -> str:
            self.calls.append(f"{name}({', '.join(arguments)})")
            return f"{name}#{len(self.calls)}"

        return call


def calls_of(mlp: FeedForward) -> list[str]:
    kernels: Any = RecordingKernels()
    weights: dict[str, Any] = {"qkv": "QKV", "out": "O"}
    layer = DecoderLayer(attention_norm="norm1", attention="heads", mlp_norm="norm2", mlp=mlp, **weights)
    tensor: Any = "residual"
    layer.forward(kernels, tensor, "step", "cache")
    return kernels.calls


def test_the_eight_operations():
    weights: dict[str, Any] = {"up": "UP", "down": "DOWN"}
    assert calls_of(DenseNetwork(**weights)) == [
        "norm(residual, norm1)",
        "linear(norm#1, QKV)",
        "rotate_and_cache(linear#2, heads, step, cache)",
        "attend(rotate_and_cache#3, heads, step, cache)",
        "linear_add(attend#4, O, residual)",
        "norm(residual, norm2)",
        "activated_linear(norm#6, UP)",
        "linear_add(activated_linear#7, DOWN, residual)",
    ]


def test_a_mixture_of_experts_takes_the_last_two_places():
    assert calls_of(ExpertMixture(router="ROUTER", experts="EXPERTS"))[-3:] == [
        "norm(residual, norm2)",
        "route(norm#6, ROUTER)",
        "experts_add(norm#6, route#7, EXPERTS, residual)",
    ]
