"""LangChain's chat model on an inference engine of its own, in your process.

Example:
    >>> from langchain_vllm_local import ChatVLLMLocal
    >>> llm = ChatVLLMLocal(max_tokens=16, temperature=0)
    >>> llm.invoke("Hello!").text
"""

from __future__ import annotations

from langchain_vllm_local._init_chat_model import register_init_chat_model
from langchain_vllm_local.chat_models import ChatVLLMLocal
from vllm_local import __version__

__all__ = ["ChatVLLMLocal", "__version__", "register_init_chat_model"]
