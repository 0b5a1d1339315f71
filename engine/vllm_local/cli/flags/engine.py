"""Options that set engine arguments (`EngineConfig`)."""

from __future__ import annotations

from functools import partial

from vllm_local.cli.flags.flag import Flag, Shape, Target
from vllm_local.cli.flags.values import dtype_name, integer, integer_or_auto, json_object, number, optional_text

_flag = partial(Flag, target=Target.ENGINE)
_model = partial(_flag, group="ModelConfig")
_load = partial(_flag, group="LoadConfig")
_cache = partial(_flag, group="CacheConfig")
_scheduler = partial(_flag, group="SchedulerConfig")

ENGINE_FLAGS: tuple[Flag, ...] = (
    _model(name="model", help="Hugging Face id or local folder; without it, the starter model in the package."),
    _model(name="tokenizer", type=optional_text, help="Id or folder of the tokenizer; the model's own by default."),
    _model(name="revision", type=optional_text, help="Branch, tag or commit on the hub."),
    _model(
        name="dtype",
        type=dtype_name,
        choices=("auto", "float16", "bfloat16", "float32"),
        help="Number format (half and float are names, too); auto is the checkpoint's, or what computes well here.",
    ),
    _model(
        name="max-model-len",
        type=integer_or_auto,
        help="Longest prompt and answer together, in tokens (4096, 4k, 4K); auto or -1 is the largest that fits.",
    ),
    _model(name="seed", type=integer, help="Where requests without a seed of their own draw theirs from."),
    _model(
        name="quantization", short="-q", type=optional_text, help="Not in this version; none runs the model as it is."
    ),
    _model(
        name="trust-remote-code",
        shape=Shape.SWITCH,
        help="Let the tokenizer's own code from the checkpoint run. Model code is never run.",
    ),
    _model(
        name="hf-token", type=optional_text, help="Token for gated models; the login of `hf auth login` by default."
    ),
    _model(
        name="chat-template", type=optional_text, help="A Jinja template, or its file, that replaces the model's own."
    ),
    _model(
        name="generation-config",
        help="auto takes sampling defaults from the model's generation_config.json, vllm does not; or a folder.",
    ),
    _model(
        name="override-generation-config",
        type=json_object,
        help="Sampling defaults that win over the model's, as JSON, or --override-generation-config.temperature 0.5.",
    ),
    _load(name="load-format", help="auto and safetensors read safetensors only; pt also pickle files."),
    _load(name="download-dir", type=optional_text, help="Folder of the download cache; Hugging Face's by default."),
    _load(
        name="local-files-only",
        shape=Shape.SWITCH,
        help="Never ask the hub (not an option of vLLM's; its HF_HUB_OFFLINE=1 works too).",
    ),
    _load(name="use-tqdm-on-load", shape=Shape.SWITCH, help="Progress bars while downloading and loading."),
    _cache(name="block-size", type=integer, help="Tokens in a block of the KV cache."),
    _cache(
        name="gpu-memory-utilization",
        type=number,
        help="Share of the memory left after the weights (RAM on a CPU) that the KV cache may take, up to 4 GiB.",
    ),
    _cache(
        name="kv-cache-memory-bytes",
        type=integer,
        help="Size of the KV cache (2g, 2G); overrides the share and the cap.",
    ),
    _cache(
        name="enable-prefix-caching",
        shape=Shape.SWITCH,
        help="Keep finished prompts' K and V for requests with the same beginning.",
    ),
    _scheduler(name="max-num-seqs", type=integer, help="Most requests computed in one step."),
    _scheduler(name="max-num-batched-tokens", type=integer, help="Most tokens computed in one step."),
    _scheduler(name="scheduling-policy", choices=("fcfs", "priority"), help="Who runs first."),
    _flag(
        name="device",
        group="DeviceConfig",
        choices=("auto", "cpu", "cuda", "mps"),
        help="Where the model runs; auto is cuda where there is one, else cpu.",
    ),
    _flag(
        name="num-threads",
        group="DeviceConfig",
        type=integer,
        help="Threads that compute; the cores this process may use by default (not an option of vLLM's).",
    ),
)
