"""Fields that several routes share."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, WithJsonSchema

T = TypeVar("T")


class _FailFast:
    """pydantic's own, which cannot be hashed and so not be in a union."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return {**handler(source), "fail_fast": True}


ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""A word for the chat template."""
Items: TypeAlias = Annotated[list[T], _FailFast()]
"""A list that is given up at its first wrong item: a body has room for millions, and each error takes half a KiB."""
_Biases: TypeAlias = Annotated[
    dict[str, Any], WithJsonSchema({"type": "object", "additionalProperties": {"type": "number"}})
]
"""Numbers; `SamplingParams` says so, since pydantic would list every value that is none."""


class RequestBody(BaseModel):
    """A request's body; unknown fields are let in and ignored, as vLLM does."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    model: str | None = None
    """A served name; the first one by default."""


class StreamOptions(BaseModel):
    """What a stream tells besides text."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class SamplingFields(BaseModel):
    """How to sample, by the names of `SamplingParams`; None takes the model's own default."""

    n: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: str | Items[str] | None = None
    stop_token_ids: Items[int] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    min_tokens: int | None = None
    logit_bias: _Biases | None = None
    allowed_token_ids: Items[int] | None = None
    bad_words: Items[str] | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None


class FormFields(BaseModel):
    """What the answer must look like, by OpenAI's name, by vLLM's, and by the names that vLLM had before."""

    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    structural_tag: str | dict[str, Any] | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_json_object: bool | None = None
    guided_regex: str | None = None
    guided_choice: Items[str] | None = None
    guided_grammar: str | None = None
    guided_whitespace_pattern: str | None = None


class ToolFields(BaseModel):
    """Functions that the model may call."""

    tools: Items[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None


class LogprobFields(BaseModel):
    """Which log-probabilities are told, besides those that each route names in its own way."""

    prompt_logprobs: int | None = None
    logprob_token_ids: Items[int] | None = None


class DeliveryFields(BaseModel):
    """How the answer is sent, and how the request is treated."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stream_interval: int | None = Field(default=None, ge=1)
    user: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    priority: int = 0
    cache_salt: str | None = None
    truncate_prompt_tokens: int | None = Field(default=None, ge=-1)
    truncation_side: Literal["left", "right"] | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    return_prompt_text: bool | None = None


class TemplateFields(BaseModel):
    """A conversation, and how the chat template shows it."""

    messages: Items[dict[str, Any]]
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool | None = None
    """Add what the model expects around a plain prompt; not by default, since the template has written it out."""
    documents: Items[dict[str, Any]] | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: ReasoningEffort | None = None
