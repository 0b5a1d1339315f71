"""From a model's folder to a decoder: read the config, check the weights, pack them one by one."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vllm_local.config import DTYPE_BYTES, EngineConfig
from vllm_local.errors import CorruptModelError, UnsupportedModelError
from vllm_local.models.checkpoint import DTYPES, Checkpoint, open_checkpoint
from vllm_local.models.config_fields import ConfigFields, read_config_fields
from vllm_local.models.dtypes import resolve_dtype
from vllm_local.models.families import read_decoder_config
from vllm_local.models.fused_experts import unfuse_experts
from vllm_local.models.hub import resolve_model_path
from vllm_local.models.model_config import DecoderConfig, MixtureSpec

if TYPE_CHECKING:
    import torch

    from vllm_local.kernels.interface import Kernels
    from vllm_local.layers.decoder_layer import DecoderLayer
    from vllm_local.layers.feed_forward import FeedForward
    from vllm_local.models.decoder import Decoder

__all__ = ["load_model", "read_model_config", "resolve_model_path", "weight_bytes"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


def read_model_config(path: Path, engine: EngineConfig, device: str) -> DecoderConfig:
    """Reads config.json and chooses the number format.

    Args:
        path: The model's folder.
        engine: The user's arguments; `dtype` and `load_format` matter here.
        device: "cpu", "cuda" or "mps".

    Raises:
        ModelNotFoundError: There is no config.json.
        UnsupportedModelError: The architecture or one of its variants is not implemented.
        CorruptModelError: A field is missing or makes no sense.
    """
    from dataclasses import replace

    fields = read_config_fields(path)
    config = read_decoder_config(fields)
    dtype = resolve_dtype(engine.dtype, _checkpoint_dtype(fields, path, engine.load_format), device)
    return replace(config, dtype=dtype)


def _checkpoint_dtype(fields: ConfigFields, path: Path, load_format: str) -> str:
    """Reads `dtype` (transformers 5) or `torch_dtype` (4), else looks at the weights."""
    stated = fields.value("dtype", None) or fields.value("torch_dtype", None)
    if stated is not None:
        return str(stated).removeprefix("torch.")
    with closing(open_checkpoint(path, load_format)) as checkpoint:
        floats = {name for name, _ in DTYPES.values()}
        found = [tensor.dtype for tensor in checkpoint.tensors.values() if tensor.dtype in floats]
    return max(found, key=found.count, default="float32")


def weight_bytes(path: Path, dtype: str, load_format: str = "auto", *, device: str = "cpu") -> int:
    """Returns the bytes that the weights will take once loaded, from the files' headers.

    A tied head counts twice where torch's operators compute on the CPU: their layout of it may be a copy of its own.

    Args:
        path: The model's folder.
        dtype: Number format they will be in.
        load_format: As in `EngineConfig`.
        device: "cpu", "cuda" or "mps".

    Raises:
        UnsupportedModelError: The weights are pickle files, which were not asked for.
        CorruptModelError: The files are damaged.
    """
    from vllm_local.kernels.selection import native_library

    config = read_decoder_config(read_config_fields(path))
    with closing(unfuse_experts(open_checkpoint(path, load_format), config.mixture)) as checkpoint:
        _check_weights(checkpoint, config, path)
    numbers = sum(math.prod(shape) for shape in config.weight_shapes().values())
    if config.tie_word_embeddings and device == "cpu" and native_library() is None:
        numbers += config.vocab_size * config.hidden_size
    return numbers * DTYPE_BYTES[dtype]


def load_model(
    path: Path,
    decoder_config: DecoderConfig,
    *,
    device: str,
    progress: bool,
    load_format: str = "auto",
) -> Decoder:
    """Loads and packs the weights, one module at a time, so that memory peaks near the size of the packed weights.

    Args:
        path: The model's folder.
        decoder_config: From `read_model_config`.
        device: "cpu", "cuda" or "mps".
        progress: Show a progress bar.
        load_format: As in `EngineConfig`.

    Raises:
        UnsupportedModelError: The weights are quantised, or pickle files that were not asked for.
        CorruptModelError: Files are damaged, or weights missing or misshapen.
    """
    import torch

    from vllm_local.kernels.selection import make_kernels

    kernels = make_kernels(device, getattr(torch, decoder_config.dtype))
    opened = unfuse_experts(open_checkpoint(path, load_format), decoder_config.mixture)
    with closing(opened) as checkpoint, torch.inference_mode():
        _check_weights(checkpoint, decoder_config, path)
        _log_unused(checkpoint, decoder_config)
        return _DecoderBuilder(decoder_config, kernels, checkpoint).build(progress=progress)


def _check_weights(checkpoint: Checkpoint, config: DecoderConfig, path: Path) -> None:
    """Compares names, shapes and number formats with what the config asks for, before anything is read."""
    expected = config.weight_shapes()
    missing = [name for name in expected if name not in checkpoint.tensors]
    if missing:
        message = f"{path} lacks {_listed(missing)}, which a {config.architecture} of this config.json needs."
        raise CorruptModelError(f"{message} Is a shard missing, or the config another model's?")
    floats = {name for name, _ in DTYPES.values()}
    for name, shape in expected.items():
        tensor = checkpoint.tensors[name]
        if tensor.dtype not in floats:
            message = f"{tensor.file}: tensor {name!r} is in {tensor.dtype}; quantised weights are not supported."
            raise UnsupportedModelError(message)
        if tensor.shape != shape:
            message = f"{tensor.file}: tensor {name!r} has shape {tensor.shape}, but config.json asks for {shape}."
            raise CorruptModelError(message)


def _log_unused(checkpoint: Checkpoint, config: DecoderConfig) -> None:
    tied_head = f"{config.names.head}.weight" if config.tie_word_embeddings else None
    unused = [
        name
        for name in sorted(checkpoint.tensors.keys() - config.weight_shapes().keys())
        if not name.endswith(config.names.ignored) and name != tied_head
    ]
    if unused:
        logger.warning("The checkpoint holds %s, which a %s does not use.", _listed(unused), config.architecture)


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return f"{shown} and {len(names) - 3} more weights" if len(names) > 3 else shown


class _DecoderBuilder:
    """Packs a checkpoint's weights into a decoder."""

    def __init__(self, config: DecoderConfig, kernels: Kernels, checkpoint: Checkpoint) -> None:
        self._config = config
        self._kernels = kernels
        self._checkpoint = checkpoint

    def build(self, *, progress: bool) -> Decoder:
        """Returns the decoder."""
        from vllm_local.models.decoder import Decoder

        config, names = self._config, self._config.names
        if config.tie_word_embeddings:
            embedding, head = self._kernels.pack_tied_embedding(self._weight(names.embedding))
        else:
            embedding = self._kernels.pack_embedding(self._weight(names.embedding))
            head = self._kernels.pack_linear([self._weight(names.head)])
        layers = _with_progress(range(config.num_layers), "Loading weights", enabled=progress)
        return Decoder(
            config=config,
            kernels=self._kernels,
            embedding=embedding,
            layers=tuple(self._layer(layer) for layer in layers),
            final_norm=self._norm(names.final_norm),
            head=head,
        )

    def _layer(self, layer: int) -> DecoderLayer:
        from vllm_local.layers.decoder_layer import DecoderLayer

        config = self._config
        names = config.names
        qkv, out = ([name.format(layer) for name in group] for group in (names.qkv, (names.out,)))
        return DecoderLayer(
            attention_norm=self._norm(names.attention_norm.format(layer)),
            qkv=self._kernels.pack_linear(*self._linears(qkv, config.qkv_bias)),
            attention=self._kernels.pack_attention(
                config.attention[layer],
                q_norm=self._optional(names.q_norm, layer),
                k_norm=self._optional(names.k_norm, layer),
                norm_eps=config.norm_eps,
            ),
            out=self._kernels.pack_linear(*self._linears(out, config.out_bias), split="input"),
            mlp_norm=self._norm(names.mlp_norm.format(layer)),
            mlp=self._feed_forward(layer),
        )

    def _feed_forward(self, layer: int) -> FeedForward:
        from vllm_local.layers.feed_forward import DenseNetwork

        config, names = self._config, self._config.names
        mixture = config.mixture_of(layer)
        if mixture is not None:
            return self._mixture(layer, mixture)
        up, down = ([name.format(layer) for name in group] for group in (names.up, (names.down,)))
        return DenseNetwork(
            up=self._kernels.pack_activated_linear(*self._linears(up, config.mlp_bias), activation=config.activation),
            down=self._kernels.pack_linear(*self._linears(down, config.mlp_bias), split="input"),
        )

    def _mixture(self, layer: int, mixture: MixtureSpec) -> FeedForward:
        from vllm_local.kernels.interface import ExpertWeights
        from vllm_local.layers.feed_forward import ExpertMixture

        names = mixture.names
        router = self._weight(names.router.format(layer))
        experts = (
            ExpertWeights(*(self._weight(name.format(layer, expert)) for name in (names.gate, names.up, names.down)))
            for expert in range(mixture.num_experts)
        )
        return ExpertMixture(
            router=self._kernels.pack_router(router, top_k=mixture.top_k, normalises=mixture.normalises),
            experts=self._kernels.pack_experts(experts, activation=self._config.activation),
        )

    def _linears(self, names: list[str], has_bias: bool) -> tuple[list[torch.Tensor], list[torch.Tensor] | None]:
        biases = [self._checkpoint.read(f"{name}.bias") for name in names] if has_bias else None
        return [self._weight(name) for name in names], biases

    def _norm(self, name: str) -> object:
        return self._kernels.pack_norm(self._weight(name), kind=self._config.norm, eps=self._config.norm_eps)

    def _optional(self, name: str | None, layer: int) -> torch.Tensor | None:
        return None if name is None else self._weight(name.format(layer))

    def _weight(self, name: str) -> torch.Tensor:
        return self._checkpoint.read(f"{name}.weight")


def _with_progress(items: Iterable[T], title: str, *, enabled: bool) -> Iterator[T]:
    if not enabled:
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)  # stdout belongs to the answers
    yield from track(list(items), title, console=console, transient=True, disable=not console.is_terminal)
