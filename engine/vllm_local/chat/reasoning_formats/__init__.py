"""Formats of reasoning, found by the chat template or by vLLM's name for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vllm_local.chat.reasoning_formats.base import ReasoningFormat, ReasoningState
from vllm_local.chat.reasoning_formats.gpt_oss import GptOss
from vllm_local.chat.reasoning_formats.granite import Granite
from vllm_local.chat.reasoning_formats.think import CohereThink, MistralThink, SeedThink, Think
from vllm_local.errors import InvalidConfigError

__all__ = [
    "REASONING_FORMATS",
    "ReasoningFormat",
    "ReasoningState",
    "detect_reasoning_format",
    "named_reasoning_format",
]

_logger = logging.getLogger(__name__)

REASONING_FORMATS: Sequence[ReasoningFormat] = (
    GptOss(),
    SeedThink(),
    CohereThink(),
    MistralThink(),
    Granite(),
    Think(),
)
"""Every format; the first that matches a template is the template's."""


def detect_reasoning_format(template: str, name: str | None = None) -> ReasoningFormat | None:
    """Returns the format in which a model thinks, None if it does not, and logs its name.

    Args:
        template: The chat template's text.
        name: Ours or vLLM's name of the format to take, whatever the template says.

    Raises:
        InvalidConfigError: No format has the name.
    """
    if name is None:
        found = next((item for item in REASONING_FORMATS if item.matches(template)), None)
        if found is not None:
            _logger.info("Reasoning is read in the format %s, from the chat template.", found.name)
        return found
    named = named_reasoning_format(name)
    _logger.info("Reasoning is read in the format %s, as %r asks for.", named.name, name)
    return named


def named_reasoning_format(name: str) -> ReasoningFormat:
    """Returns the format that has a name, ours or vLLM's.

    Raises:
        InvalidConfigError: There is none.
    """
    for item in REASONING_FORMATS:
        if name == item.name or name in item.vllm_parser_names:
            return item
    names = sorted({known for item in REASONING_FORMATS for known in (item.name, *item.vllm_parser_names)})
    raise InvalidConfigError(f"reasoning_parser={name!r} is not known; use one of {', '.join(names)}.")
