"""`init_chat_model("vllm_local:…")`, for those who ask for it."""

from __future__ import annotations

import importlib
from typing import Any

from vllm_local.errors import InvalidConfigError

PROVIDER = "vllm_local"
"""What stands before the colon."""


def register_init_chat_model() -> None:
    """Makes LangChain's `init_chat_model` know this package, as the provider "vllm_local".

    LangChain has a list of providers and no way for packages outside of it to be found, so this adds a line to that
    list in this process. Nothing is added where it is not called.

    Example:
        >>> register_init_chat_model()
        >>> llm = init_chat_model("vllm_local:Qwen/Qwen3-0.6B", max_tokens=16)

    Raises:
        InvalidConfigError: LangChain is not installed, or it keeps its list elsewhere.
    """
    try:
        base: Any = importlib.import_module("langchain.chat_models.base")
    except ImportError as error:
        raise InvalidConfigError("init_chat_model is a part of langchain: pip install langchain.") from error
    providers = getattr(base, "_BUILTIN_PROVIDERS", None)
    if not isinstance(providers, dict):
        message = "This version of langchain keeps its providers elsewhere; write ChatVLLMLocal(model=…) instead."
        raise InvalidConfigError(message)
    providers[PROVIDER] = ("langchain_vllm_local", "ChatVLLMLocal", _make)


def _make(cls: type, **kwargs: Any) -> Any:
    # LangChain passes the class by this name.
    return cls(**kwargs)
