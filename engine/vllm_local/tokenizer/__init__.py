"""Text to tokens and back: loading a model's tokenizer, and decoding its answers token by token."""

from __future__ import annotations
