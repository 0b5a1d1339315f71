"""LangChain's own client of OpenAI's API, told to keep what servers of open models say. Imported with a server only.

It does the wire: payloads out, messages, tool calls and streams in, OpenAI's errors sorted. What a payload holds is
said in `_server_requests.py`, so that none of its guesses by a model's name (o1, gpt-5, codex) is made.
"""

from __future__ import annotations

from typing import Any

import openai
from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai.chat_models.base import BaseChatOpenAI  # noqa: TID253 - the same
from pydantic import model_validator

from langchain_vllm_local._server_results import annotated_chunk, complete_result


class DelegateChatOpenAI(BaseChatOpenAI):
    """BaseChatOpenAI over a client that it is given."""

    @model_validator(mode="after")
    def validate_environment(self) -> DelegateChatOpenAI:
        """Takes nothing from the environment: the user's OpenAI key and organization are not this server's business."""
        return self

    def _resolve_model_profile(self) -> ModelProfile | None:
        return None

    def _get_request_payload(
        self,
        input_: LanguageModelInput,  # noqa: ARG002 - the payload has the messages
        *,
        stop: list[str] | None = None,  # noqa: ARG002 - and these too
        payload: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        return {**(payload or {}), **kwargs}

    def _create_chat_result(
        self, response: dict[str, Any] | openai.BaseModel, generation_info: dict[str, Any] | None = None
    ) -> ChatResult:
        extra = dict(generation_info or {})
        result = super()._create_chat_result(response, dict(extra))
        body = response if isinstance(response, dict) else response.model_dump(warnings=False)
        return complete_result(result, body, extra)

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        read = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        return annotated_chunk(read, chunk) if read is not None else None
