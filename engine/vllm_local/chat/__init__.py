"""Conversations to prompts: messages and tools through a model's chat template. Shared by every way in."""

from __future__ import annotations
