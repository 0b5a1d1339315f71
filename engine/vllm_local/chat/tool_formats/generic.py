"""For templates that know no tools: the system prompt describes them, and calls are written as Hermes's are."""

from __future__ import annotations

from vllm_local.chat.tool_formats.hermes import Hermes


class Generic(Hermes):
    """Hermes's wire text is the one that most models have met."""

    name = "generic"
    vllm_parser_names = ()
    signs = ()
    describes_tools = True
