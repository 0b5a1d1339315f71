"""The HTTP server: OpenAI's, vLLM's and Anthropic's routes over one `AsyncLLM`."""

from __future__ import annotations
