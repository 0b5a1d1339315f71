"""The tables, put together for the commands."""

from __future__ import annotations

from vllm_local.cli.flags.engine import ENGINE_FLAGS
from vllm_local.cli.flags.flag import Flag
from vllm_local.cli.flags.refused import REFUSED_FLAGS
from vllm_local.cli.flags.server import LISTEN_FLAGS, RESPONSE_FLAGS
from vllm_local.cli.flags.unused import UNUSED_FLAGS

CONFIG_FLAG = Flag(name="config", help="Read options from a YAML file; those on the command line win over it.")

ALL_ENGINE_FLAGS: tuple[Flag, ...] = (*ENGINE_FLAGS, *REFUSED_FLAGS, *UNUSED_FLAGS)
"""For every command that loads a model: honoured, refused or without effect."""

SERVE_FLAGS: tuple[Flag, ...] = (CONFIG_FLAG, *LISTEN_FLAGS, *RESPONSE_FLAGS, *ALL_ENGINE_FLAGS)
"""Options of `serve`."""
