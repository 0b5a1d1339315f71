"""An inference engine for open language models on the CPU, with vLLM's names.

Example:
    >>> from vllm_local import LLM, SamplingParams
    >>> llm = LLM()
    >>> outputs = llm.chat([{"role": "user", "content": "Hello!"}], SamplingParams(temperature=0, max_tokens=16))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vllm_local.config import EngineConfig
from vllm_local.outputs import CompletionOutput, Logprob, RequestOutput
from vllm_local.sampling_params import RequestOutputKind, SamplingParams

if TYPE_CHECKING:
    from vllm_local.async_llm import AsyncLLM
    from vllm_local.llm import LLM

__version__ = "0.1.0"

__all__ = [
    "LLM",
    "AsyncLLM",
    "CompletionOutput",
    "EngineConfig",
    "Logprob",
    "RequestOutput",
    "RequestOutputKind",
    "SamplingParams",
    "__version__",
]

_LAZY = {"LLM": "vllm_local.llm", "AsyncLLM": "vllm_local.async_llm"}


def __getattr__(name: str) -> Any:
    """Imports what needs torch on first use."""
    if name not in _LAZY:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(_LAZY[name]), name)
