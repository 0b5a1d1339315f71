"""What a user may say about the server, beside the engine: vLLM's front-end options."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vllm_local.chat.reasoning_formats import named_reasoning_format
from vllm_local.chat.tool_formats import named_tool_formats
from vllm_local.errors import InvalidConfigError
from vllm_local.sampling_params import MAX_LOGPROBS

MEBIBYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """The front-end's settings, by vLLM's names. Every default exists here once.

    Attributes:
        host: Address to listen on; this machine's own by default, unlike vLLM's.
        port: TCP port; 0 takes a free one.
        uds: Path of a Unix domain socket to listen on instead.
        api_key: Keys that are let in; none means that everybody is.
        allowed_hosts: Names by which the server may be called (the Host header) beside its own; "*" is any. By default
            a server on loopback without a key takes none but loopback's, so that no web page gets in under its name.
        served_model_name: Names that requests may use; the first is the one in answers to requests without. By default
            the engine's model.
        root_path: Path under which a proxy shows the server.
        ssl_keyfile: The private key, for HTTPS.
        ssl_certfile: The certificate.
        ssl_ca_certs: Certificates that clients' certificates are checked against.
        ssl_cert_reqs: Whether clients need a certificate, as Python's ssl numbers it: 0 no, 1 if they like, 2 yes.
        allowed_origins: Web pages that may call (CORS); none by default.
        allow_credentials: Let those pages send cookies and keys.
        allowed_methods: Methods that they may use.
        allowed_headers: Headers that they may send.
        uvicorn_log_level: "critical", "error", "warning", "info", "debug" or "trace".
        disable_uvicorn_access_log: No line per request.
        enable_request_id_headers: Answer with X-Request-Id, the client's own where it sent one.
        enable_prompt_tokens_details: Report cached prompt tokens in `usage`.
        enable_force_include_usage: Report `usage` on every chunk of every stream, asked for or not.
        return_tokens_as_token_ids: Tokens in log-probabilities read "token_id:42".
        response_role: The role of answers.
        chat_template: A template, or the path of one, instead of the model's.
        chat_template_content_format: Show contents to the template as texts ("string") or parts ("openai").
        tool_call_parser: The format of tool calls, by our name or vLLM's; found in the chat template by default.
        reasoning_parser: The format of reasoning, likewise.
        default_chat_template_kwargs: Keywords for the template; those of a request win.
        trust_request_chat_template: Let requests bring templates of their own; they run in a sandbox.
        shutdown_timeout: Seconds that requests get to finish once the server is told to stop.
        max_num_queued_reqs: Requests that may wait for the engine; more are answered 503. None: any number.
        max_num_queued_tokens: Prompt tokens that may wait for the engine, likewise.
        enable_server_load_tracking: `/load` tells how many requests are being answered.
        disable_fastapi_docs: No /docs, /redoc and /openapi.json.
        max_body_bytes: Size of a request's body beyond which it is answered 413.
        header_timeout: Seconds for a request's head, after which the connection is closed.
        body_timeout: Seconds for a request's body, and one more for each 4 KiB of it, after which it is answered 408.
        send_timeout: Seconds in which a client reads nothing of its answer, after which it counts as gone.
        enable_log_requests: Log each request's parameters, and its prompt.
        max_log_len: Characters, or tokens, of a prompt that are logged at most.
        sse_keep_alive_interval: Seconds of silence after which a stream gets a comment line; None: never.
        stream_interval: Tokens that a chunk of a stream has at least, but for the first and the last.
        max_logprobs: Alternatives that a token's log-probabilities may list.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    uds: str | None = None
    api_key: tuple[str, ...] = field(default=(), repr=False)
    allowed_hosts: tuple[str, ...] = ()
    served_model_name: tuple[str, ...] = ()
    root_path: str = ""
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None
    ssl_ca_certs: str | None = None
    ssl_cert_reqs: int = 0
    allowed_origins: tuple[str, ...] = ()
    allow_credentials: bool = False
    allowed_methods: tuple[str, ...] = ("*",)
    allowed_headers: tuple[str, ...] = ("*",)
    uvicorn_log_level: str = "info"
    disable_uvicorn_access_log: bool = False
    enable_request_id_headers: bool = False
    enable_prompt_tokens_details: bool = False
    enable_force_include_usage: bool = False
    return_tokens_as_token_ids: bool = False
    response_role: str = "assistant"
    chat_template: str | None = None
    chat_template_content_format: Literal["auto", "string", "openai"] = "auto"
    tool_call_parser: str | None = None
    reasoning_parser: str | None = None
    default_chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    trust_request_chat_template: bool = False
    shutdown_timeout: float = 0
    max_num_queued_reqs: int | None = None
    max_num_queued_tokens: int | None = None
    enable_server_load_tracking: bool = False
    disable_fastapi_docs: bool = False
    max_body_bytes: int = 32 * MEBIBYTE
    header_timeout: float = 60.0
    body_timeout: float = 60.0
    send_timeout: float = 300.0
    enable_log_requests: bool = False
    max_log_len: int | None = None
    sse_keep_alive_interval: float | None = None
    stream_interval: int = 1
    max_logprobs: int = MAX_LOGPROBS

    def __post_init__(self) -> None:
        """Brings texts and lists to one form and checks everything.

        Raises:
            InvalidConfigError: A value is of the wrong type, outside its bounds or at odds with another.
        """
        for name in _TUPLES:
            object.__setattr__(self, name, _as_tuple(name, getattr(self, name)))
        for name, (kinds, may_be_none) in _TYPES.items():
            _check_type(name, getattr(self, name), kinds, may_be_none=may_be_none)
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InvalidConfigError(f"{name} must be in [{low}, {high}], got {value!r}.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                message = f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}."
                raise InvalidConfigError(message)
        self._check_files()
        self._check_path()
        if self.tool_call_parser is not None:
            named_tool_formats(self.tool_call_parser)
        if self.reasoning_parser is not None:
            named_reasoning_format(self.reasoning_parser)

    @property
    def scheme(self) -> str:
        """What the server's URLs begin with."""
        return "https" if self.ssl_certfile else "http"

    def _check_files(self) -> None:
        if self.ssl_keyfile and not self.ssl_certfile:
            raise InvalidConfigError("ssl_keyfile needs ssl_certfile, the certificate that belongs to it.")
        if self.ssl_ca_certs and not self.ssl_certfile:
            raise InvalidConfigError("ssl_ca_certs needs ssl_certfile: without a certificate there is no HTTPS.")
        if self.ssl_cert_reqs and not self.ssl_ca_certs:
            raise InvalidConfigError(
                "ssl_cert_reqs needs ssl_ca_certs, which clients' certificates are checked against."
            )
        for name in ("ssl_keyfile", "ssl_certfile", "ssl_ca_certs"):
            path = getattr(self, name)
            if path is not None and not os.path.isfile(path):  # noqa: PTH113 - pathlib's raises where it is too long
                raise InvalidConfigError(f"{name}={path!r} is not a file.")

    def _check_path(self) -> None:
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise InvalidConfigError(f"root_path must begin with '/' and not end with it, got {self.root_path!r}.")
        if not self.host:  # an unset variable of a script's, which must not open the server to the network
            raise InvalidConfigError("host must not be empty; 0.0.0.0 listens at every address of this machine.")
        if self.uds is not None and not self.uds:
            raise InvalidConfigError("uds must be the path of a socket, got an empty text.")


_TUPLES = ("api_key", "allowed_hosts", "served_model_name", "allowed_origins", "allowed_methods", "allowed_headers")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "chat_template_content_format": ("auto", "string", "openai"),
    "uvicorn_log_level": ("critical", "error", "warning", "info", "debug", "trace"),
}
_INF = float("inf")
_MAX_SECONDS = 10**9
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "port": (0, 65535),
    "ssl_cert_reqs": (0, 2),
    "shutdown_timeout": (0, _MAX_SECONDS),
    "max_num_queued_reqs": (0, _INF),
    "max_num_queued_tokens": (0, _INF),
    "max_body_bytes": (1, _INF),
    **dict.fromkeys(("header_timeout", "body_timeout", "send_timeout"), (0.001, _MAX_SECONDS)),
    "max_log_len": (0, _INF),
    "sse_keep_alive_interval": (0.001, _MAX_SECONDS),
    "stream_interval": (1, _INF),
    "max_logprobs": (0, MAX_LOGPROBS),
}
_NUMBER = (int, float)
_TYPES: Mapping[str, tuple[type | tuple[type, ...], bool]] = {
    **dict.fromkeys(("host", "root_path", "response_role"), (str, False)),
    **dict.fromkeys(("uds", "ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "chat_template"), (str, True)),
    **dict.fromkeys(("tool_call_parser", "reasoning_parser"), (str, True)),
    **dict.fromkeys(("port", "ssl_cert_reqs", "max_body_bytes", "stream_interval", "max_logprobs"), (int, False)),
    **dict.fromkeys(("max_num_queued_reqs", "max_num_queued_tokens", "max_log_len"), (int, True)),
    **dict.fromkeys(("shutdown_timeout", "header_timeout", "body_timeout", "send_timeout"), (_NUMBER, False)),
    "sse_keep_alive_interval": (_NUMBER, True),
    "default_chat_template_kwargs": (Mapping, False),
}


def _as_tuple(name: str, value: object) -> tuple[str, ...]:
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, (tuple, list)) or not all(isinstance(item, str) and item for item in items):
        raise InvalidConfigError(f"{name} must be texts that are not empty, got {type(value).__name__}.")
    return tuple(items)


def _check_type(name: str, value: object, kinds: type | tuple[type, ...], *, may_be_none: bool) -> None:
    if value is None and may_be_none:
        return
    if isinstance(value, bool) or not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise InvalidConfigError(f"{name} must be of type {wanted}, got {type(value).__name__}.")
