"""From engine arguments to a model runner that is ready for its first step."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vllm_local.config import KV_CACHE_MEMORY_CAP, EngineConfig, ModelInfo, ResolvedConfig, resolve
from vllm_local.errors import InsufficientMemoryError
from vllm_local.models.loader import load_model, read_model_config, resolve_model_path, weight_bytes
from vllm_local.sampling.sampler import Sampler
from vllm_local.sampling.selection import make_backend
from vllm_local.worker.device import default_num_threads, resolve_device
from vllm_local.worker.memory import available_memory
from vllm_local.worker.model_runner import ModelRunner

if TYPE_CHECKING:
    from vllm_local.models.decoder import Decoder

logger = logging.getLogger(__name__)


def load_model_runner(
    engine: EngineConfig,
    *,
    path: Path | None = None,
    loaded_engines: Sequence[str] = (),
    reserved_memory: Callable[[], int] = lambda: 0,
) -> tuple[ModelRunner, ResolvedConfig, Path]:
    """Loads a model and allocates everything that steps need.

    Sets the number of threads that torch computes on, for the whole process: one beside the native kernels. Where
    torch's operators compute, that number must be 1 in a child of `fork` (`num_threads=1`): threads of the OpenMP
    library that a parent used are lost there, and waiting for them hangs.

    Args:
        engine: The user's arguments; `model` is a folder or a Hugging Face id.
        path: The model's folder, where the caller has found it already.
        loaded_engines: What is loaded in this process already, for the message that memory is short.
        reserved_memory: Returns the bytes of main memory that those engines may still take.

    Returns:
        The runner, the sizes that were chosen, and the model's folder.

    Raises:
        ModelLoadError: The model cannot be found, or its files cannot be used.
        InvalidConfigError: The arguments do not suit the model or this machine.
        InsufficientMemoryError: Weights or KV cache do not fit; nothing was loaded.
    """
    started = time.monotonic()
    device = resolve_device(engine.device)
    path = resolve_model_path(engine) if path is None else path
    decoder_config = read_model_config(path, engine, device)
    size = weight_bytes(path, decoder_config.dtype, engine.load_format, device=device)
    num_threads = engine.num_threads or default_num_threads(size)
    left = available_memory(device, reserved_memory())
    _check_memory(engine, decoder_config.info, size=size, left=left, device=device, loaded_engines=loaded_engines)
    # Loading computes on one thread: OpenMP keeps a team of threads for every thread that ever computed on several.
    # With two teams on the same cores its threads sleep where they would spin, and each step of the engine's thread
    # takes half as long again.
    torch.set_num_threads(1)
    model = load_model(
        path, decoder_config, device=device, progress=engine.use_tqdm_on_load, load_format=engine.load_format
    )
    model.kernels.set_num_threads(num_threads)
    runner, config = _make_runner(engine, model, device, reserved_memory)
    elapsed = time.monotonic() - started
    message = "Loaded %s (%s, %s) on %s in %.1f s: %s of weights, num_threads %d."
    info, where = config.model, f"{device} ({model.kernels.description})"
    logger.info(message, engine.model, info.architecture, info.dtype, where, elapsed, as_text(size), num_threads)
    return runner, config, path


def _make_runner(
    engine: EngineConfig, model: Decoder, device: str, reserved_memory: Callable[[], int]
) -> tuple[ModelRunner, ResolvedConfig]:
    left = available_memory(device, reserved_memory())
    config = resolve(engine, model.config.info, device=device, available_memory=left)
    runner = ModelRunner(config, model, Sampler(make_backend(device)))
    message = "KV cache: %s = %d blocks of %d tokens (%s); max_model_len %d."
    cache = config.kv_cache
    share = _describe_share(engine, left)
    logger.info(message, as_text(cache.memory_bytes), cache.num_blocks, cache.block_size, share, config.max_model_len)
    return runner, config


def _check_memory(
    engine: EngineConfig, info: ModelInfo, *, size: int, left: int, device: str, loaded_engines: Sequence[str]
) -> None:
    """Refuses a model before its weights are read, if they or the KV cache would not fit beside what is there."""
    if size >= left:
        shortage = f"its weights need {as_text(size)}, but {as_text(left)} of memory are left on {device}."
        raise InsufficientMemoryError(_explain(engine, info, shortage, loaded_engines))
    try:
        resolve(engine, info, device=device, available_memory=left - size)
    except InsufficientMemoryError as error:
        shortage = f"beside {as_text(size)} of weights, {as_text(left - size)} of memory are left on {device}. {error}"
        raise InsufficientMemoryError(_explain(engine, info, shortage, loaded_engines)) from error


def _explain(engine: EngineConfig, info: ModelInfo, shortage: str, loaded_engines: Sequence[str]) -> str:
    start = f"{engine.model} ({info.architecture}, {info.dtype}) does not fit: {shortage}"
    if not loaded_engines:
        return f"{start} Choose a smaller model, or free memory."
    return (
        f"{start} Loaded in this process: {', '.join(loaded_engines)}. Close what you do not need "
        "(engine.close(), or ChatVLLMLocal.shutdown()), or choose a smaller model."
    )


def _describe_share(engine: EngineConfig, left: int) -> str:
    if engine.kv_cache_memory_bytes is not None:
        return "kv_cache_memory_bytes"
    share = (
        f"at most {engine.gpu_memory_utilization:.0%} of {as_text(left)} left, at most {as_text(KV_CACHE_MEMORY_CAP)}"
    )
    return f"{share}, at most max_num_seqs full contexts"


def as_text(num_bytes: int) -> str:
    """Returns a size in words, such as "1.2 GiB"."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if num_bytes >= 2**power:
            return f"{num_bytes / 2**power:.1f} {unit}"
    return f"{num_bytes} B"
