"""Options that set the front end's settings (`ServerSettings`)."""

from __future__ import annotations

from functools import partial

from vllm_local.cli.flags.flag import Flag, Shape, Target
from vllm_local.cli.flags.values import integer, json_object, json_texts, number, optional_text

_front = partial(Flag, group="Frontend", target=Target.SERVER)
_switch = partial(_front, shape=Shape.SWITCH)
_scheduler = partial(Flag, group="SchedulerConfig", target=Target.SERVER)

RESPONSE_FLAGS: tuple[Flag, ...] = (
    _front(name="served-model-name", shape=Shape.LIST, help="Names that requests may use; the first is in answers."),
    _front(name="response-role", help="Role of the answers' messages."),
    _front(
        name="chat-template-content-format",
        choices=("auto", "string", "openai"),
        help="Whether the chat template gets a message's content as a text or as a list of parts.",
    ),
    _front(
        name="default-chat-template-kwargs",
        type=json_object,
        help="Template variables for requests that do not set them, as JSON, such as '{\"enable_thinking\": false}'.",
    ),
    Flag(
        name="tool-call-parser",
        group="StructuredOutputsConfig",
        target=Target.SERVER,
        help="Format of the model's tool calls, by vLLM's name; the chat template says it by default.",
    ),
    Flag(
        name="reasoning-parser",
        group="StructuredOutputsConfig",
        target=Target.SERVER,
        help="Format of the model's reasoning, by vLLM's name; the chat template says it by default.",
    ),
    _switch(name="trust-request-chat-template", help="Render a template that a request brings along."),
    _switch(name="return-tokens-as-token-ids", help="Write tokens in logprobs as token_id:<id>."),
    _switch(name="enable-prompt-tokens-details", help="Say in usage how many prompt tokens were cached."),
    _switch(name="enable-force-include-usage", help="Report usage in every stream."),
    _switch(name="enable-log-requests", help="Log every request, its prompt included."),
    _front(name="max-log-len", type=integer, help="Most characters of a prompt in the log."),
    Flag(
        name="max-logprobs",
        group="ModelConfig",
        target=Target.SERVER,
        type=integer,
        help="Most log-probabilities a token that a request may ask for.",
    ),
    _scheduler(name="stream-interval", type=integer, help="Tokens in a chunk of a stream."),
    _scheduler(name="max-num-queued-reqs", type=integer, help="Requests that may wait; more are answered with 503."),
    _scheduler(name="max-num-queued-tokens", type=integer, help="Prompt tokens that may wait; likewise."),
)
"""What `run-batch` takes as well: it answers requests as the server does."""

LISTEN_FLAGS: tuple[Flag, ...] = (
    _front(name="host", help="Address to listen at; 0.0.0.0 listens to other machines, too."),
    _front(name="port", type=integer, help="Port to listen at; 0 takes a free one and says which."),
    _front(name="uds", type=optional_text, help="Path of a Unix socket to listen at, instead of host and port."),
    _front(
        name="api-key",
        shape=Shape.LIST,
        help="A key that requests must bring (several: repeat it). Environment: VLLM_API_KEY.",
    ),
    _front(
        name="allowed-hosts",
        type=json_texts,
        help="Names that requests may call the server by (Host), as a JSON list, beside localhost and addresses; "
        "'[\"*\"]' is any (not an option of vLLM's).",
    ),
    _front(name="root-path", help="Path prefix, behind a proxy that routes by path."),
    _front(name="ssl-keyfile", type=optional_text, help="Key for HTTPS."),
    _front(name="ssl-certfile", type=optional_text, help="Certificate for HTTPS."),
    _front(
        name="ssl-ca-certs", type=optional_text, help="Certificates that clients' certificates are checked against."
    ),
    _front(
        name="ssl-cert-reqs",
        type=integer,
        help="Whether clients need a certificate: 0 no, 1 if they like, 2 yes; needs --ssl-ca-certs.",
    ),
    _front(name="allowed-origins", type=json_texts, help="Origins whose pages may call (CORS), as a JSON list; none."),
    _switch(name="allow-credentials", help="Let such pages send credentials."),
    _front(name="allowed-methods", type=json_texts, help="Methods that such pages may use, as a JSON list."),
    _front(name="allowed-headers", type=json_texts, help="Headers that such pages may send, as a JSON list."),
    _front(
        name="uvicorn-log-level",
        choices=("critical", "error", "warning", "info", "debug", "trace"),
        help="How much the HTTP server logs.",
    ),
    _switch(name="disable-uvicorn-access-log", help="No line per request in the log."),
    _switch(name="disable-fastapi-docs", help="No /docs, /redoc and /openapi.json."),
    _switch(name="enable-request-id-headers", help="Answer with an X-Request-Id header."),
    _switch(name="enable-server-load-tracking", help="Count running requests at /load."),
    _front(name="max-body-bytes", type=integer, help="Longest request body (not an option of vLLM's)."),
    _front(name="header-timeout", type=number, help="Seconds for a request's head (not an option of vLLM's)."),
    _front(
        name="body-timeout",
        type=number,
        help="Seconds for a request's body, and one more for each 4 KiB of it (not an option of vLLM's).",
    ),
    _front(
        name="send-timeout",
        type=number,
        help="Seconds in which a client may read nothing of its answer (not an option of vLLM's).",
    ),
    _front(name="sse-keep-alive-interval", type=number, help="Seconds between comments that keep a quiet stream open."),
    _front(name="shutdown-timeout", type=number, help="Seconds that running requests get at the end; 0 aborts them."),
)
