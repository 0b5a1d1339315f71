"""Structured output: constraints on an answer's text → constraints on its tokens, over llguidance."""

from vllm_local.structured_output.compiler import GrammarCompiler
from vllm_local.structured_output.limits import GrammarLimits

__all__ = ["GrammarCompiler", "GrammarLimits"]
