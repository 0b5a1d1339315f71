"""Options that would change answers, or let in whom they should keep out, if they were only overlooked."""

from __future__ import annotations

from functools import partial

from vllm_local.cli.flags.flag import Flag, Shape, Target
from vllm_local.cli.flags.values import integer

_MORE = 'use real vLLM for more (ChatVLLMLocal(backend="vllm"), or `vllm serve`)'
_LATER = "it is not in this version"

_refused = partial(Flag, target=Target.REFUSED)
_model = partial(_refused, group="ModelConfig")
_front = partial(_refused, group="Frontend")
_parallel = partial(_refused, group="ParallelConfig", advice=_MORE)
_one = partial(_parallel, type=integer, harmless=(1,), help="Must be 1: this engine runs on one device.")

REFUSED_FLAGS: tuple[Flag, ...] = (
    _one(name="tensor-parallel-size", short="-tp"),
    _one(name="pipeline-parallel-size", short="-pp"),
    _one(name="data-parallel-size", short="-dp"),
    _one(name="decode-context-parallel-size", short="-dcp"),
    _one(name="prefill-context-parallel-size", short="-pcp"),
    _one(name="nnodes", short="-n"),
    _parallel(name="headless", shape=Shape.SWITCH, harmless=(False,), help="One of several nodes, without a server."),
    _front(
        name="api-server-count",
        short="-asc",
        type=integer,
        harmless=(1,),
        help="Must be 1: server and engine are one process.",
        advice="start several servers on ports of their own, behind a proxy",
    ),
    _front(
        name="grpc", shape=Shape.SWITCH, harmless=(False,), help="gRPC instead of HTTP.", advice="this server is HTTP"
    ),
    _front(
        name="middleware",
        shape=Shape.LIST,
        help="ASGI middleware.",
        advice="put it into a proxy in front; left out silently, it could be the one that checks who calls",
    ),
    _front(
        name="lora-modules",
        group="LoRAConfig",
        shape=Shape.LIST,
        help="Not in this version.",
        advice=f"{_LATER}; merge the adapter into the model's weights",
    ),
    _model(
        name="runner",
        choices=("auto", "generate", "pooling", "draft"),
        harmless=("auto", "generate"),
        help="auto or generate.",
        advice=f"embedding and ranking are not in this version; {_MORE}",
    ),
    _model(name="convert", harmless=("auto", "none"), help="auto or none.", advice=_LATER),
    _model(name="task", harmless=("auto", "generate"), help="auto or generate; older name of --runner.", advice=_LATER),
    _model(
        name="logprobs-mode",
        harmless=("raw_logprobs",),
        help="raw_logprobs: before temperature and filters.",
        advice="log-probabilities are those of the model itself",
    ),
    _model(name="hf-overrides", harmless=("{}",), help="Not in this version.", advice="edit the model's config.json"),
    _model(name="rope-scaling", help="Not in this version.", advice="edit the model's config.json"),
    _model(name="rope-theta", help="Not in this version.", advice="edit the model's config.json"),
    _model(name="hf-config-path", help="Not in this version.", advice="put config.json into the model's folder"),
    _model(name="tokenizer-revision", help="Not in this version.", advice="give a folder as --tokenizer"),
    _model(
        name="skip-tokenizer-init",
        shape=Shape.SWITCH,
        harmless=(False,),
        help="Not in this version.",
        advice="the server needs the tokenizer",
    ),
    _model(name="logits-processors", shape=Shape.LIST, help="Not in this version.", advice=_LATER),
    _model(name="io-processor-plugin", help="Not in this version.", advice=_LATER),
    _model(name="pooler-config", help="Not in this version.", advice=_LATER),
    _model(
        name="enable-prompt-embeds",
        shape=Shape.SWITCH,
        harmless=(False,),
        help="Not in this version.",
        advice="prompts are texts or token ids",
    ),
)
