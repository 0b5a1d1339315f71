"""Engine arguments, with vLLM's names, and the one pure function that makes them concrete."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from vllm_local.errors import InsufficientMemoryError, InvalidConfigError

STARTER_MODEL_NAME = "vllm-local-starter"
"""Name of the model that ships in the package."""

KV_CACHE_MEMORY_CAP = 4 * 2**30
"""Bytes; the KV cache never takes more unless `kv_cache_memory_bytes` says so."""

DTYPE_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of one number, by dtype name."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What a user may say about an engine. Every default exists here once.

    Attributes:
        model: Hugging Face id or local folder; the starter model by default.
        tokenizer: Id or folder of the tokenizer; the model's own by default.
        revision: Branch, tag or commit on the hub.
        dtype: "auto" (the checkpoint's, or what this machine computes well), "bfloat16", "float16" or "float32".
        device: "auto" (cuda where there is one, else cpu), "cpu", "cuda" or "mps".
        max_model_len: Longest prompt and answer together, in tokens; "auto" is the largest that fits.
        max_num_seqs: Most requests computed in one step.
        max_num_batched_tokens: Most tokens computed in one step (the step's token budget).
        block_size: Tokens in a KV block.
        enable_prefix_caching: Keep the K and V of finished prompts for later requests with the same beginning.
        scheduling_policy: "fcfs" (first come, first served) or "priority" (lower `priority` first).
        gpu_memory_utilization: Share of the memory left after the weights that the KV cache may take, up to
            `KV_CACHE_MEMORY_CAP`. vLLM's name; here it speaks of whatever memory the device has.
        kv_cache_memory_bytes: Size of the KV cache in bytes; overrides the share and the cap.
        seed: Where requests without a seed draw theirs from; None draws from the operating system.
        load_format: "auto" and "safetensors" read safetensors only; "pt" also reads pickle files, which can run code.
        download_dir: Folder of the download cache; Hugging Face's own by default.
        hf_token: Token for gated models on the hub; Hugging Face's own login by default.
        local_files_only: Never ask the hub (also set by `HF_HUB_OFFLINE=1`).
        trust_remote_code: Let the tokenizer's own code from the checkpoint run. Model code is never run.
        chat_template: A Jinja template, or the path of one, that replaces the model's own.
        generation_config: "auto" takes sampling defaults from the model's generation_config.json; "vllm" does not;
            else a folder that holds one.
        override_generation_config: Sampling defaults that win over the model's.
        quantization: Not supported in this version.
        tensor_parallel_size: Must be 1 here; real vLLM does more.
        pipeline_parallel_size: The same.
        num_threads: Threads that compute; None takes the cores that this process may use, or one for a
            tiny model.
        use_tqdm_on_load: Show progress bars while downloading and loading.
    """

    model: str = STARTER_MODEL_NAME
    tokenizer: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    max_model_len: int | Literal["auto"] = "auto"
    max_num_seqs: int = 64
    max_num_batched_tokens: int = 512
    block_size: int = 16
    enable_prefix_caching: bool = True
    scheduling_policy: str = "fcfs"
    gpu_memory_utilization: float = 0.5
    kv_cache_memory_bytes: int | None = None
    seed: int | None = None
    load_format: str = "auto"
    download_dir: str | None = None
    hf_token: str | None = field(default=None, repr=False)
    local_files_only: bool = False
    trust_remote_code: bool = False
    chat_template: str | None = None
    generation_config: str = "auto"
    override_generation_config: Mapping[str, Any] = field(default_factory=dict)
    quantization: str | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    num_threads: int | None = None
    use_tqdm_on_load: bool = True

    def __post_init__(self) -> None:
        """Turns paths into texts, and checks what can be checked without the model.

        Raises:
            InvalidConfigError: A value is of the wrong type, outside its bounds or at odds with another.
        """
        for name in _PATHS:
            value = getattr(self, name)
            if isinstance(value, os.PathLike):
                object.__setattr__(self, name, os.fspath(value))
        _check_types(self)
        _check_choices(self)
        _check_sizes(self)
        _check_unsupported(self)

    def key(self) -> str:
        """Returns a text that is equal for equal arguments, for engines shared by their arguments."""
        return json.dumps(asdict(self), sort_keys=True, default=str)


ENGINE_ARGUMENT_NAMES: tuple[str, ...] = tuple(item.name for item in fields(EngineConfig))
"""Every engine argument's name."""

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "dtype": ("auto", "bfloat16", "float16", "float32"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "scheduling_policy": ("fcfs", "priority"),
    "load_format": ("auto", "safetensors", "pt"),
}
_TYPES: Mapping[type | tuple[type, ...], tuple[str, ...]] = {
    str: ("model", "tokenizer", "revision", "download_dir", "hf_token", "chat_template", "generation_config"),
    bool: ("enable_prefix_caching", "local_files_only", "trust_remote_code", "use_tqdm_on_load"),
    int: ("seed",),
    (int, float): ("gpu_memory_utilization",),
    Mapping: ("override_generation_config",),
}
_PATHS = ("model", "tokenizer", "download_dir", "chat_template", "generation_config")
_MAY_BE_NONE = ("tokenizer", "revision", "download_dir", "hf_token", "chat_template", "seed")
MAX_THREADS = 1024
"""No machine that this runs on has more cores; OpenMP crashes where the system refuses it a thread."""
_POSITIVE_SIZES = ("max_num_seqs", "max_num_batched_tokens", "block_size", "kv_cache_memory_bytes", "num_threads")


def _check_types(config: EngineConfig) -> None:
    for kinds, names in _TYPES.items():
        for name in names:
            value = getattr(config, name)
            if value is None and name in _MAY_BE_NONE:
                continue
            if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
                wanted = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
                raise InvalidConfigError(f"{name} must be of type {wanted}, got {type(value).__name__}.")


def _check_choices(config: EngineConfig) -> None:
    for name, choices in _CHOICES.items():
        value = getattr(config, name)
        if value not in choices:
            raise InvalidConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")
    if not config.model:
        raise InvalidConfigError(f"model must be a Hugging Face id or a folder, got {config.model!r}.")


def _check_sizes(config: EngineConfig) -> None:
    for name in _POSITIVE_SIZES:
        value = getattr(config, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise InvalidConfigError(f"{name} must be a positive integer, got {value!r}.")
    if config.num_threads is not None and config.num_threads > MAX_THREADS:
        raise InvalidConfigError(f"num_threads must be at most {MAX_THREADS}, got {config.num_threads}.")
    length = config.max_model_len
    if length != "auto" and (isinstance(length, bool) or not isinstance(length, int) or length < 2):
        raise InvalidConfigError(f"max_model_len must be 'auto' or an integer of at least 2, got {length!r}.")
    if config.max_num_batched_tokens < config.max_num_seqs:
        message = (
            f"max_num_batched_tokens={config.max_num_batched_tokens} must not be less than "
            f"max_num_seqs={config.max_num_seqs}: every running request needs one token a step."
        )
        raise InvalidConfigError(message)
    if not 0 < config.gpu_memory_utilization <= 1:
        raise InvalidConfigError(f"gpu_memory_utilization must be in (0, 1], got {config.gpu_memory_utilization!r}.")


def _check_unsupported(config: EngineConfig) -> None:
    if config.quantization is not None:
        message = f"quantization={config.quantization!r} is not supported in this version; leave it out to run in bf16."
        raise InvalidConfigError(message)
    for name in ("tensor_parallel_size", "pipeline_parallel_size"):
        if getattr(config, name) != 1:
            message = f"{name}={getattr(config, name)!r}: this engine runs on one device; use real vLLM for more."
            raise InvalidConfigError(message)


@dataclass(frozen=True, kw_only=True)
class KVCacheGroup:
    """Layers whose K and V are laid out alike and share one block table.

    Attributes:
        layers: Indices of the layers.
        num_kv_heads: K and V heads a layer.
        k_head_size: Numbers in a K head.
        v_head_size: Numbers in a V head.
        dtype: Name of the number format.
        kind: "full" attention, "sliding" window or recurrent "state"; only "full" in this version.
    """

    layers: tuple[int, ...]
    num_kv_heads: int
    k_head_size: int
    v_head_size: int
    dtype: str
    kind: str = "full"

    @property
    def bytes_per_token(self) -> int:
        """Bytes of K and V that one token takes over all layers of the group."""
        head_sizes = self.k_head_size + self.v_head_size
        return len(self.layers) * self.num_kv_heads * head_sizes * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, kw_only=True)
class KVCacheConfig:
    """The paged KV cache.

    Attributes:
        num_blocks: Blocks in the pool.
        block_size: Tokens in a block.
        groups: How the layers' K and V are laid out.
    """

    num_blocks: int
    block_size: int
    groups: tuple[KVCacheGroup, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens that fit."""
        return self.num_blocks * self.block_size

    @property
    def memory_bytes(self) -> int:
        """Bytes of the whole cache."""
        return self.num_tokens * sum(group.bytes_per_token for group in self.groups)


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What the engine has to know of a model to size itself; read without torch.

    Attributes:
        architecture: The name in config.json, such as "LlamaForCausalLM".
        max_position_embeddings: Longest context that the model was made for, in tokens.
        vocab_size: Rows of the embedding.
        dtype: Name of the number format it is computed in.
        kv_cache_groups: How its K and V are laid out.
    """

    architecture: str
    max_position_embeddings: int
    vocab_size: int
    dtype: str
    kv_cache_groups: tuple[KVCacheGroup, ...]


@dataclass(frozen=True, kw_only=True)
class ResolvedConfig:
    """Engine arguments made concrete for one model on one machine.

    Attributes:
        engine: The arguments as the user gave them.
        model: What the model is like.
        device: "cpu", "cuda" or "mps".
        max_model_len: Longest prompt and answer together, in tokens.
        max_num_seqs: Most requests computed in one step; no more than the KV cache has blocks.
        max_num_batched_tokens: Most tokens computed in one step; no more than the KV cache holds.
        kv_cache: The paged KV cache.
    """

    engine: EngineConfig
    model: ModelInfo
    device: str
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache: KVCacheConfig


def resolve(engine: EngineConfig, model: ModelInfo, *, device: str, available_memory: int) -> ResolvedConfig:
    """Sizes the KV cache and the context.

    Args:
        engine: The user's arguments.
        model: The model.
        device: Where it runs.
        available_memory: Bytes left on the device once the weights are loaded.

    Raises:
        InvalidConfigError: `max_model_len` is longer than the model's context.
        InsufficientMemoryError: The KV cache cannot hold `max_model_len` (or anything at all).
    """
    _check_model_length(engine, model)
    budget = _kv_cache_budget(engine, model, available_memory)
    bytes_per_block = engine.block_size * sum(group.bytes_per_token for group in model.kv_cache_groups)
    num_blocks = budget // bytes_per_block
    max_model_len = _fit_model_length(engine, model, num_blocks * engine.block_size, bytes_per_block)
    useful_blocks = engine.max_num_seqs * math.ceil(max_model_len / engine.block_size)
    if engine.kv_cache_memory_bytes is None:
        num_blocks = min(num_blocks, useful_blocks)
    kv_cache = KVCacheConfig(num_blocks=num_blocks, block_size=engine.block_size, groups=model.kv_cache_groups)
    return ResolvedConfig(
        engine=engine,
        model=model,
        device=device,
        max_model_len=max_model_len,
        # A running request has a block of its own: the one of its last token. Buffers are made for both numbers.
        max_num_seqs=min(engine.max_num_seqs, num_blocks),
        max_num_batched_tokens=min(engine.max_num_batched_tokens, kv_cache.num_tokens),
        kv_cache=kv_cache,
    )


def _check_model_length(engine: EngineConfig, model: ModelInfo) -> None:
    length = engine.max_model_len
    if length != "auto" and length > model.max_position_embeddings:
        message = (
            f"max_model_len={length} is longer than the model's context of {model.max_position_embeddings} tokens; "
            "choose that or less, or 'auto'."
        )
        raise InvalidConfigError(message)


def _kv_cache_budget(engine: EngineConfig, model: ModelInfo, available_memory: int) -> int:
    if engine.kv_cache_memory_bytes is None:
        return min(int(engine.gpu_memory_utilization * max(available_memory, 0)), KV_CACHE_MEMORY_CAP)
    if engine.kv_cache_memory_bytes > available_memory:
        message = (
            f"kv_cache_memory_bytes={engine.kv_cache_memory_bytes} is more than the {available_memory} bytes "
            f"that are left after loading the {model.architecture}; ask for less."
        )
        raise InsufficientMemoryError(message)
    return engine.kv_cache_memory_bytes


def _fit_model_length(engine: EngineConfig, model: ModelInfo, num_tokens: int, bytes_per_block: int) -> int:
    wanted = model.max_position_embeddings if engine.max_model_len == "auto" else engine.max_model_len
    needed = math.ceil(wanted / engine.block_size) * bytes_per_block
    if num_tokens >= wanted:
        return wanted
    if engine.max_model_len == "auto" and num_tokens >= 2:
        return num_tokens
    message = (
        f"The KV cache has room for {num_tokens} tokens, but max_model_len={wanted} needs {needed} bytes of it. "
        "Set max_model_len to at most what fits, raise kv_cache_memory_bytes or gpu_memory_utilization, "
        "or free memory."
    )
    raise InsufficientMemoryError(message)
