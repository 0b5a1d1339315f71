"""The chat model's fields: ChatOpenAI's under ChatOpenAI's names and aliases, and the engine's own."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from langchain_core.language_models.chat_models import BaseChatModel
from pydantic import ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator

from langchain_vllm_local._parameters import (
    ALIASES,
    HONOURED_BY_OWN_SERVER,
    HONOURED_OVER_HTTP,
    NO_EFFECT,
    REQUEST_NAMES,
    SAMPLING_NAMES,
    UNSUPPORTED,
    ChatParameters,
    chat_parameters,
    check_names,
)
from langchain_vllm_local._profile import DerivedProfile
from langchain_vllm_local._server_requests import normalized_base_url
from vllm_local.config import ENGINE_ARGUMENT_NAMES, STARTER_MODEL_NAME, EngineConfig
from vllm_local.sampling_params import SamplingParams

BASE_URL_VARIABLE = "VLLM_LOCAL_BASE_URL"
"""Environment variable that names a server to attach to, where neither `backend` nor `base_url` is given."""
API_KEY_VARIABLE = "VLLM_LOCAL_API_KEY"
"""Environment variable that holds that server's key."""


class ChatVLLMLocalFields(BaseChatModel):
    """Everything that may be said at construction. None means: as the model's generation_config.json says."""

    # A validator of ours refuses unknown names: pydantic's own could not say which one is near. Errors must not
    # print their input, which holds the API key.
    model_config = ConfigDict(populate_by_name=True, hide_input_in_errors=True, protected_namespaces=())

    # ── Where the model runs ─────────────────────────────────────────────────────────────────────────────────────────
    model_name: str = Field(default=STARTER_MODEL_NAME, alias="model")
    """Hugging Face id or local folder; the starter model that ships in the package by default."""
    backend: Literal["engine", "server", "vllm"] | None = None
    """"engine" runs the model in this process, "server" in one that it starts, "vllm" by the real `vllm serve`."""
    engine_args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the engine by vLLM's names: `max_model_len`, `max_num_seqs`, `dtype`, ... (`EngineConfig`)."""
    # With backend="vllm": any option of `vllm serve`.
    openai_api_base: str | None = Field(default=None, alias="base_url")
    """Address of a server that somebody else runs, such as `http://localhost:8000/v1`."""
    openai_api_key: SecretStr | Callable[[], str] | Callable[[], Awaitable[str]] | None = Field(
        default=None, alias="api_key"
    )
    """That server's key."""

    # ── Sampling ─────────────────────────────────────────────────────────────────────────────────────────────────────
    temperature: float | None = None
    """0 takes the most probable token; higher is more random."""
    top_p: float | None = None
    """Keep the fewest tokens whose probabilities add up to it."""
    top_k: int | None = None
    """Keep that many tokens; 0 or -1 keeps all."""
    min_p: float | None = None
    """Drop tokens less probable than it times the most probable one."""
    seed: int | None = None
    """Makes the draws repeatable."""
    n: int | None = None
    """Answers to a conversation; `generate` returns them all, `invoke` the first."""
    max_tokens: int | None = Field(default=None, alias="max_completion_tokens")
    """Most tokens of an answer; None takes the room that the context leaves."""
    min_tokens: int | None = None
    """No end before so many tokens."""
    stop: list[str] | str | None = Field(default=None, alias="stop_sequences")
    """Strings that end an answer and are not part of it; a call's `stop` takes their place."""
    stop_token_ids: list[int] | None = None
    """Tokens that end an answer besides the model's own."""
    include_stop_str_in_output: bool | None = None
    """Keep the stop string at the end of the answer."""
    ignore_eos: bool | None = None
    """Go on after the model's end token."""
    presence_penalty: float | None = None
    """Taken from the logit of every token already in the answer."""
    frequency_penalty: float | None = None
    """The same, times how often it is there."""
    repetition_penalty: float | None = None
    """Divides the logits of tokens in prompt or answer."""
    logit_bias: dict[int, float] | None = None
    """Added to the logits, by token id."""
    allowed_token_ids: list[int] | None = None
    """When given, no other token is sampled."""
    bad_words: list[str] | None = None
    """Words that are not written."""
    skip_special_tokens: bool | None = None
    """Leave special tokens out of the answer; True unless set."""

    # ── The request ──────────────────────────────────────────────────────────────────────────────────────────────────
    request_timeout: float | tuple[float, float] | Any | None = Field(default=None, alias="timeout")
    """Seconds that a request may take, queueing included; then it is aborted with a `ModelTimeoutError`."""
    streaming: bool | None = None
    """True streams inside `invoke` too, False never streams; None leaves it to LangChain."""
    stream_usage: bool | None = None
    """False leaves the token counts out of a stream's last chunk."""
    logprobs: bool | None = None
    """Report the log-probability of each token."""
    top_logprobs: int | None = None
    """Report that many alternatives with it."""
    reasoning_effort: str | None = None
    """How much a model should think; handed to the chat template under this name."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Further arguments of the chat template, such as `{"enable_thinking": False}`."""
    include_reasoning: bool | None = None
    """False leaves what the model thought out of answers."""
    thinking_token_budget: int | None = None
    """Most tokens of what it thinks; then it has to answer."""
    priority: int | None = None
    """Lower runs first where `engine_args={"scheduling_policy": "priority"}`."""
    cache_salt: str | None = None
    """Requests share cached prefixes only with those of the same salt."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """More parameters by name, as ChatOpenAI takes them."""
    extra_body: Mapping[str, Any] | None = None
    """The same, for what vLLM adds to OpenAI's; wins over the fields."""

    # ── ChatOpenAI's, without effect or refused (docs/parameters.md) ─────────────────────────────────────────────────
    client: Any = Field(default=None, exclude=True, repr=False)
    async_client: Any = Field(default=None, exclude=True, repr=False)
    root_client: Any = Field(default=None, exclude=True, repr=False)
    root_async_client: Any = Field(default=None, exclude=True, repr=False)
    http_client: Any | None = Field(default=None, exclude=True, repr=False)
    http_async_client: Any | None = Field(default=None, exclude=True, repr=False)
    http_socket_options: Sequence[tuple[int, int, int]] | None = Field(default=None, exclude=True, repr=False)
    openai_organization: str | None = Field(default=None, alias="organization")
    # These three may hold passwords, and do nothing: they stay out of traces, cache keys and dumps.
    openai_proxy: str | None = Field(default=None, exclude=True, repr=False)
    default_headers: Mapping[str, str] | None = Field(default=None, exclude=True, repr=False)
    default_query: Mapping[str, object] | None = Field(default=None, exclude=True, repr=False)
    max_retries: int | None = None
    tiktoken_model_name: str | None = None
    stream_chunk_timeout: float | None = Field(default=None, exclude=True)
    include_response_headers: bool = False
    disabled_params: dict[str, Any] | None = None
    service_tier: str | None = None
    store: bool | None = None
    prompt_cache_options: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    verbosity: str | None = None
    context_management: list[dict[str, Any]] | None = None
    include: list[str] | None = None
    truncation: str | None = None
    use_previous_response_id: bool = False
    use_responses_api: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: Any) -> Any:
        """Refuses unknown keywords, and drops a profile that belonged to the model this one is rebuilt from."""
        if not isinstance(values, dict):
            return values
        check_names(values, cls.model_fields, cls.__name__)
        values = _with_address(values)
        if isinstance(values.get("profile"), DerivedProfile):
            values = {**values, "profile": None}
        return values

    @field_validator("openai_api_base")
    @classmethod
    def _check_base_url(cls, base_url: str | None) -> str | None:
        return None if base_url is None else normalized_base_url(base_url)

    @field_validator("model_name", mode="before")
    @classmethod
    def _path_as_text(cls, model: Any) -> Any:
        return os.fspath(model) if isinstance(model, os.PathLike) else model

    @field_validator("engine_args")
    @classmethod
    def _check_engine_args(cls, arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if info.data.get("backend") != "vllm":
            check_names(arguments, set(ENGINE_ARGUMENT_NAMES) - {"model"}, "engine_args")
        token = arguments.get("hf_token")
        return {**arguments, "hf_token": SecretStr(token)} if isinstance(token, str) else arguments

    @model_validator(mode="after")
    def _check_address(self) -> ChatVLLMLocalFields:
        """Refuses two answers to where the model runs."""
        if self.openai_api_base is None:
            return self
        where = f"base_url={self.openai_api_base!r}"
        if self.backend is not None:
            message = f"{where} and backend={self.backend!r} exclude each other: leave one out."
            raise ValueError(message)
        if self.engine_args:
            message = f"{where}: engine_args belong to whoever starts that server; leave them out, or say backend=."
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _check_values(self) -> ChatVLLMLocalFields:
        """Refuses at once what every call would refuse."""
        if self.has_engine_config:
            self.engine_config()
        parameters = self.parameters({})
        SamplingParams(**{"max_tokens": None, **parameters.sampling})
        parameters.answer_form()
        if self.streaming and (self.n or 1) > 1:
            message = f"n={self.n} with streaming=True: a stream has one answer."
            raise ValueError(message)
        return self

    @property
    def has_engine_config(self) -> bool:
        """Whether this package's engine runs the model, here or in a server of ours."""
        return self.openai_api_base is None and self.backend != "vllm"

    @property
    def is_over_http(self) -> bool:
        """Whether a server answers."""
        return self.openai_api_base is not None or self.backend in ("server", "vllm")

    @property
    def max_concurrency(self) -> int:
        """How many inputs of a batch are sent at a time."""
        default = EngineConfig().max_num_seqs
        if self.has_engine_config:
            return self.engine_config().max_num_seqs
        given = self.engine_args.get("max_num_seqs", default)
        return given if isinstance(given, int) and given > 0 else default

    def engine_config(self, model: str | None = None) -> EngineConfig:
        """Returns the engine arguments, for another model if one is named.

        Raises:
            InvalidConfigError: An argument is wrong.
        """
        arguments = dict(self.engine_args)
        if isinstance(token := arguments.get("hf_token"), SecretStr):
            arguments["hf_token"] = token.get_secret_value()
        return EngineConfig(model=model or self.model_name, **arguments)

    def parameters(self, call: Mapping[str, Any], stop: Sequence[str] | str | None = None) -> ChatParameters:
        """Returns what one call is to do.

        Args:
            call: The call's keywords.
            stop: The call's stop strings, which LangChain passes by itself.

        Raises:
            InvalidRequestError: An unknown keyword, or a value that cannot be honoured.
        """
        return chat_parameters(self.settings(), call, stop, honoured=self._honoured())

    def _honoured(self) -> frozenset[str] | None:
        if self.openai_api_base is not None:
            return HONOURED_OVER_HTTP
        return HONOURED_BY_OWN_SERVER if self.is_over_http else None

    def settings(self) -> dict[str, Any]:
        """Returns the fields that say something about each request, by first name."""
        names = (*SAMPLING_NAMES, *REQUEST_NAMES, *NO_EFFECT, *UNSUPPORTED, "model_kwargs", "extra_body")
        # Not getattr, which is slow for the many names that are no fields.
        values = ((name, self.__dict__.get(name)) for name in names)
        return {name: value for name, value in values if value is not None}


def _with_address(values: dict[str, Any]) -> dict[str, Any]:
    """Adds the server that the environment names, where the caller names no place for the model."""
    values = dict(values)
    given = {ALIASES.get(name, name) for name, value in values.items() if value is not None}
    if not given & {"backend", "openai_api_base"} and (address := os.environ.get(BASE_URL_VARIABLE)):
        values.pop("base_url", None)
        values["openai_api_base"] = address
        given.add("openai_api_base")
        if "openai_api_key" not in given and (key := os.environ.get(API_KEY_VARIABLE)):
            values.pop("api_key", None)
            values["openai_api_key"] = SecretStr(key)
    if "openai_api_base" in given and "model_name" not in given:
        values.pop("model", None)
        values["model_name"] = ""  # the only one that the server has, asked for on first use
    return values
