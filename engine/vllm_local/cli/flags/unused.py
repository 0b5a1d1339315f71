"""Options of vLLM's that change nothing here; scripts that carry them go on working."""

from __future__ import annotations

from vllm_local.cli.flags.flag import Flag, Shape, Target
from vllm_local.cli.flags.values import number

# Heading → why its options do nothing → their names, as `unused` reads them.
_UNUSED: dict[str, dict[str, str]] = {
    "CompilationConfig": {
        "nothing is compiled": "enforce-eager? optimization-level compilation-config cudagraph-capture-sizes* "
        "max-cudagraph-capture-size cudagraph-metrics? max-seq-len-to-capture performance-mode",
    },
    "KernelConfig": {
        "kernels are chosen for this machine": "attention-backend attention-config kernel-config ir-op-priority* "
        "enable-flashinfer-autotune? enable-bf16x3-router-gemm? moe-backend linear-backend disable-cascade-attn? "
        "use-fp64-gumbel? gdn-prefill-backend kda-prefill-backend",
    },
    "ModelConfig": {
        "the tokenizer and its files decide": "tokenizer-mode config-format",
        "the engine has models of its own": "model-impl code-revision model-class-overrides",
        "layers with a sliding window are not in this version": "disable-sliding-window?",
        "there is no quantization": "quantization-config allow-deprecated-quantization? quantization-param-path",
        "memory is not moved between devices": "enable-sleep-mode? enable-cumem-allocator? "
        "enable-nccl-comm-suspend? offload-backend cpu-offload-gb cpu-offload-params* offload-group-size "
        "offload-num-in-group offload-prefetch-step offload-params* swap-space",
        "templates are rendered beside the engine anyway": "renderer-num-workers enable-trace-replay?",
        "there are no files for requests to read": "allowed-local-media-path allowed-media-domains*",
    },
    "LoadConfig": {
        "weights are read as they lie in the files": "safetensors-load-strategy safetensors-prefetch-num-threads "
        "safetensors-prefetch-block-size model-loader-extra-config ignore-patterns* pt-load-map-location "
        "max-parallel-loading-workers weight-transfer-config",
    },
    "StructuredOutputsConfig": {
        "formats of calls and thoughts are built in, and calls always keep their schemas": "tool-parser-plugin "
        "tool-strict-level exclude-tools-when-tool-choice-none? reasoning-parser-plugin reasoning-config "
        "enable-reasoning? tool-server",
        "there is one backend for structured outputs": "structured-outputs-config guided-decoding-backend "
        "guided-decoding-disable-fallback?",
    },
    "SpeculativeConfig": {
        "there are no drafts in this version; answers are the same without": "speculative-config spec-method "
        "spec-model spec-tokens speculative-model num-speculative-tokens per-request-spec-decode-metrics? "
        "diffusion-config",
    },
    "LoRAConfig": {
        "adapters are not in this version": "enable-lora? max-loras max-lora-rank lora-dtype max-cpu-loras "
        "fully-sharded-loras? lora-target-modules* lora-extra-vocab-size default-mm-loras enable-lora-bias? "
        "specialize-active-lora? enable-tower-connector-lora? enable-mixed-moe-lora-format? "
        "enable-moe-shared-loras?",
    },
    "CacheConfig": {
        "K and V are kept in the model's number format": "kv-cache-dtype calculate-kv-scales? "
        "kv-cache-dtype-skip-layers*",
        "the KV cache is one, in memory": "num-gpu-blocks-override prefix-caching-hash-algo kv-sharing-fast-prefill? "
        "kv-offloading-size kv-offloading-backend prefix-cache-retention-interval prefix-match-unit "
        "mamba-cache-dtype mamba-ssm-cache-dtype mamba-block-size mamba-cache-mode replayssm-buffer-len "
        "use-replayssm? mamba-backend mamba-ssu-algorithm enable-mamba-cache-stochastic-rounding? "
        "mamba-cache-philox-rounds",
    },
    "SchedulerConfig": {
        "prompts are always computed in chunks, between other requests' tokens": "enable-chunked-prefill? "
        "long-prefill-token-threshold max-num-partial-prefills max-long-partial-prefills "
        "disable-chunked-mm-input? prefill-schedule-interval scheduler-reserve-full-isl? watermark "
        "max-num-scheduled-tokens preemption-mode num-scheduler-steps scheduler-delay-factor",
        "there is one scheduler": "scheduler-cls async-scheduling? disable-hybrid-kv-cache-manager? "
        "disable-async-output-proc?",
    },
    "ParallelConfig": {
        "this engine runs on one device, in one process": "distributed-executor-backend enable-expert-parallel? "
        "disable-custom-all-reduce? worker-cls worker-extension-cls master-addr master-port node-rank device-ids "
        "distributed-timeout-seconds cpu-distributed-timeout-seconds numa-bind? numa-bind-nodes* numa-bind-cpus* "
        "data-parallel-rank data-parallel-start-rank data-parallel-size-local data-parallel-address "
        "data-parallel-rpc-port data-parallel-backend data-parallel-hybrid-lb? data-parallel-external-lb? "
        "data-parallel-multi-port-external-lb? enable-batch-sharded-sampling? enable-ep-weight-filter? "
        "all2all-backend enable-dbo? ubatch-size enable-elastic-ep? dbo-decode-token-threshold "
        "dbo-prefill-token-threshold dp-sync-interval disable-nccl-for-dp-synchronization? enable-eplb? eplb-config "
        "expert-placement-strategy ray-workers-use-nsight? enable-fault-tolerance? fault-tolerance-config "
        "disable-frontend-multiprocessing? dcp-comm-backend dcp-q-replicate? dcp-kv-cache-interleave-size "
        "cp-kv-cache-interleave-size kv-transfer-config kv-events-config ec-transfer-config ec-manager-config "
        "data-parallel-supervisor-port engine-use-ray? worker-use-ray?",
    },
    "MultiModalConfig": {
        "models here read text": "limit-mm-per-prompt language-model-only? enable-mm-embeds? media-io-kwargs "
        "mm-processor-kwargs mm-processor-cache-gb mm-processor-cache-type mm-hasher-algorithm "
        "mm-shm-cache-max-object-size-mb mm-encoder-only? mm-encoder-tp-mode mm-encoder-attn-backend "
        "mm-encoder-attn-dtype interleave-mm-strings? skip-mm-profiling? video-pruning-rate video-pruning-method "
        "mm-tensor-ipc mm-processor-device mm-ipc-gpu-memory-gb mm-device-do-normalize? trust-request-mm-kwargs? "
        "disable-mm-preprocessor-cache?",
    },
    "ObservabilityConfig": {
        "traces are not recorded; metrics are at /metrics": "otlp-traces-endpoint collect-detailed-traces "
        "show-hidden-metrics-for-version kv-cache-metrics? kv-cache-metrics-sample enable-layerwise-nvtx-tracing? "
        "enable-mfu-metrics? enable-logging-iteration-details? jit-monitor-mode jit-monitor-verbose? "
        "profiler-config additional-config aggregate-engine-logging? fail-on-environ-validation? "
        "enable-per-request-metrics? enable-return-routed-experts? return-sampling-mask?",
    },
    "Frontend": {
        "logging goes to standard error, with Python's logging": "log-config-file disable-access-log-for-endpoints "
        "enable-log-outputs? enable-log-deltas? log-error-stack?",
        "the server has no such route": "enable-tokenizer-info-endpoint? enable-offline-docs? tokens-only? "
        "enable-scale-out? cohere-is-reasoning-model? cohere-format enable-flash-late-interaction?",
        "the HTTP server's own limits hold": "h11-max-incomplete-event-size h11-max-header-count "
        "enable-ssl-refresh? ssl-ciphers",
        "answers carry a fingerprint of their own": "fingerprint-mode fingerprint-value",
    },
}
_SHORT = {
    "compilation-config": "-cc",
    "attention-config": "-ac",
    "speculative-config": "-sc",
    "diffusion-config": "-dc",
    "enable-expert-parallel": "-ep",
    "node-rank": "-r",
    "data-parallel-rank": "-dpn",
    "data-parallel-start-rank": "-dpr",
    "data-parallel-size-local": "-dpl",
    "data-parallel-address": "-dpa",
    "data-parallel-rpc-port": "-dpp",
    "data-parallel-backend": "-dpb",
    "data-parallel-hybrid-lb": "-dph",
    "data-parallel-external-lb": "-dpe",
    "data-parallel-multi-port-external-lb": "-dpm",
}
# What these ask for is so anyway.
_HARMLESS: dict[str, tuple[object, ...]] = {
    "enable-chunked-prefill": (True,),
    "kv-cache-dtype": ("auto",),
    "tokenizer-mode": ("auto", "hf"),
    "config-format": ("auto", "hf"),
    "model-impl": ("auto", "vllm"),
    "cpu-offload-gb": (0.0,),
    "swap-space": (0.0,),
    "watermark": (0.0,),
    "log-error-stack": (False,),
}
_NUMBERS = ("cpu-offload-gb", "swap-space", "watermark")


def unused(reason: str, names: str, group: str) -> tuple[Flag, ...]:
    """Returns options that do nothing.

    Args:
        reason: Why they do nothing.
        names: Theirs, separated by spaces; "?" after a name is a switch, "*" takes several values.
        group: The heading that they are listed under.
    """
    return tuple(_read(reason, marked, group) for marked in names.split())


def _read(reason: str, marked: str, group: str) -> Flag:
    name = marked.rstrip("?*")
    shape = {"?": Shape.SWITCH, "*": Shape.LIST}.get(marked[-1], Shape.VALUE)
    switched_off = (False,) if shape is Shape.SWITCH else ()
    return Flag(
        name=name,
        group=group,
        target=Target.UNUSED,
        shape=shape,
        short=_SHORT.get(name),
        type=number if name in _NUMBERS else str,
        harmless=_HARMLESS.get(name, switched_off),
        help=f"No effect here: {reason}.",
        advice=reason,
    )


UNUSED_FLAGS: tuple[Flag, ...] = (
    *(
        flag
        for group, reasons in _UNUSED.items()
        for reason, names in reasons.items()
        for flag in unused(reason, names, group)
    ),
    Flag(
        name="enable-auto-tool-choice",
        group="StructuredOutputsConfig",
        target=Target.UNUSED,
        shape=Shape.SWITCH,
        harmless=(True,),  # what it asks for is so anyway
        help="No effect here: models may always call the tools that a request offers.",
        advice="models may always call the tools that a request offers",
    ),
    Flag(
        name="disable-log-stats",
        group="Frontend",
        target=Target.UNUSED,
        shape=Shape.SWITCH,
        harmless=(True, False),  # what it asks for is so anyway
        help="No effect here: statistics are at /metrics, not in the log.",
    ),
)
