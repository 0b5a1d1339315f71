"""A layer is a fixed list of kernel calls on its own weights."""

from typing import Any

from vllm_local.layers.decoder_layer import DecoderLayer


class RecordingKernels:
    """Writes down every call; results are named after it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: str) -> str:
            self.calls.append(f"{name}({', '.join(arguments)})")
            return f"{name}#{len(self.calls)}"

        return call


def test_the_eight_operations():
    kernels: Any = RecordingKernels()
    weights: dict[str, Any] = {"qkv": "QKV", "out": "O", "up": "UP", "down": "DOWN"}
    layer = DecoderLayer(attention_norm="norm1", attention="heads", mlp_norm="norm2", **weights)
    tensor: Any = "residual"
    layer.forward(kernels, tensor, "step", "cache")
    assert kernels.calls == [
        "norm(residual, norm1)",
        "linear(norm#1, QKV)",
        "rotate_and_cache(linear#2, heads, step, cache)",
        "attend(rotate_and_cache#3, heads, step, cache)",
        "linear_add(attend#4, O, residual)",
        "norm(residual, norm2)",
        "activated_linear(norm#6, UP)",
        "linear_add(activated_linear#7, DOWN, residual)",
    ]
