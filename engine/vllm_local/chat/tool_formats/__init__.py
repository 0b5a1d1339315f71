"""Formats of tool calls, one small file each, found by the chat template or by vLLM's name for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vllm_local.chat.tool_formats.base import CallWriter, ToolFormat
from vllm_local.chat.tool_formats.deepseek import DeepSeekV3, DeepSeekV31
from vllm_local.chat.tool_formats.deepseek_dsml import DeepSeekDsml
from vllm_local.chat.tool_formats.generic import Generic
from vllm_local.chat.tool_formats.glm import Glm45, Glm47
from vllm_local.chat.tool_formats.gpt_oss import GptOss
from vllm_local.chat.tool_formats.granite import Granite
from vllm_local.chat.tool_formats.hermes import Hermes
from vllm_local.chat.tool_formats.llama3_json import Llama3Json
from vllm_local.chat.tool_formats.mistral import Mistral, MistralJson
from vllm_local.chat.tool_formats.phi4 import Phi4, Phi4Functools
from vllm_local.chat.tool_formats.pythonic import Pythonic
from vllm_local.chat.tool_formats.qwen3_coder import Qwen3Coder, SeedOss
from vllm_local.errors import InvalidConfigError

__all__ = ["TOOL_FORMATS", "CallWriter", "ToolFormat", "detect_tool_format", "named_tool_formats"]

_logger = logging.getLogger(__name__)

_GENERIC = Generic()

TOOL_FORMATS: Sequence[ToolFormat] = (
    # Those that share Hermes's tag come before it, and the narrower of two always first.
    *(GptOss(), DeepSeekDsml(), DeepSeekV3(), DeepSeekV31()),
    *(Mistral(), MistralJson(), Glm45(), Glm47(), Qwen3Coder(), SeedOss()),
    *(Granite(), Phi4(), Phi4Functools(), Pythonic(), Llama3Json()),
    *(Hermes(), _GENERIC),
)
"""Every format; the first that matches a template is the template's."""


def detect_tool_format(template: str, name: str | None = None) -> ToolFormat:
    """Returns the format in which a model calls tools, and logs its name.

    Args:
        template: The text of the chat template that renders tools.
        name: Ours or vLLM's name of the format to take; where several have it, the template chooses among them. It
            has no effect on a template that shows no tools: the system prompt describes them and how to call them.

    Raises:
        InvalidConfigError: No format has the name.
    """
    candidates = TOOL_FORMATS if name is None else named_tool_formats(name)
    how = "from the chat template" if name is None else f"as {name!r} asks for"
    found = next((item for item in candidates if item.matches(template)), candidates[0])
    if "tools" not in template and not found.describes_tools:
        # Nothing would tell the model which tools there are, nor how to call them.
        found, how = _GENERIC, "since the chat template shows no tools"
    _logger.info("Tool calls are read in the format %s, %s.", found.name, how)
    return found


def named_tool_formats(name: str) -> Sequence[ToolFormat]:
    """Returns the formats that have a name, ours or vLLM's.

    Raises:
        InvalidConfigError: There are none.
    """
    found = [item for item in TOOL_FORMATS if name == item.name or name in item.vllm_parser_names]
    if not found:
        names = sorted({name for item in TOOL_FORMATS for name in (item.name, *item.vllm_parser_names)})
        raise InvalidConfigError(f"tool_call_parser={name!r} is not known; use one of {', '.join(names)}.")
    return found
