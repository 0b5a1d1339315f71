"""Request fields of vLLM and OpenAI that this version does not honour: refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from vllm_local.errors import InvalidRequestError

_NOT_YET: Mapping[str, tuple[Any, ...]] = {
    "use_beam_search": (False,),
    "length_penalty": (1.0,),
    "watermarking": (False,),
    "repetition_detection": (),
    "prompt_embeds": (),
    "vllm_xargs": ({},),
}
"""Fields, and the values that ask for nothing."""

_CHAT_ONLY: Mapping[str, tuple[Any, ...]] = {
    "tools": (),
    "tool_choice": ("none", "auto"),
    "include_reasoning": (True,),
    "thinking_token_budget": (),
}
"""Likewise, for routes that take plain prompts."""

_NEVER: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "functions": (([],), "functions is OpenAI's old name: give tools, each as {'type': 'function', 'function': …}."),
    "function_call": (("none", "auto"), "function_call is OpenAI's old name: give tool_choice."),
    "suffix": (("",), "suffix is not currently supported: the model was not trained to fill in the middle."),
    "mm_processor_kwargs": (({},), "mm_processor_kwargs is not supported: this is not a multimodal model."),
    "media_io_kwargs": (({},), "media_io_kwargs is not supported: this is not a multimodal model."),
    "kv_transfer_params": ((), "kv_transfer_params is not supported: this server shares its KV cache with no other."),
    "logits_processors": (([],), "logits_processors is not supported: requests cannot bring code along."),
}


def refuse_unsupported(request: BaseModel) -> None:
    """Makes sure that a request asks for nothing that would be ignored.

    Raises:
        InvalidRequestError: It does; the message and `parameter` name the field.
    """
    for name, harmless in _NOT_YET.items():
        value = getattr(request, name, None)
        if value is not None and value not in harmless:
            raise InvalidRequestError(f"{name} is not yet supported by this version; leave it out.", parameter=name)
    for name, (harmless, message) in _NEVER.items():
        value = getattr(request, name, None)
        if value is not None and value not in harmless:
            raise InvalidRequestError(message, parameter=name)
    _refuse_best_of(request)
    _refuse_joined_tokens(request)


def refuse_chat_fields(request: BaseModel) -> None:
    """Makes sure that a plain prompt comes without what only conversations have.

    Raises:
        InvalidRequestError: It does not; `parameter` names the field.
    """
    for name, harmless in _CHAT_ONLY.items():
        value = getattr(request, name, None)
        if value is not None and value not in harmless:
            message = f"{name} is for conversations; /v1/chat/completions has it."
            raise InvalidRequestError(message, parameter=name)


def _refuse_best_of(request: BaseModel) -> None:
    best_of = getattr(request, "best_of", None)
    if best_of is not None and best_of != (getattr(request, "n", None) or 1):
        message = "best_of is not supported: ask for n answers and choose one by its log-probabilities."
        raise InvalidRequestError(message, parameter="best_of")


def _refuse_joined_tokens(request: BaseModel) -> None:
    joined = getattr(request, "spaces_between_special_tokens", None) is False
    if joined and getattr(request, "skip_special_tokens", None) is False:
        message = "spaces_between_special_tokens=false is not yet supported by this version; leave it out."
        raise InvalidRequestError(message, parameter="spaces_between_special_tokens")
