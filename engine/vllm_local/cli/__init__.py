"""The command line: `vllm-local serve`, `chat`, `complete`, `run-batch`, `bench`, `collect-env`."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Runs the command that this process was called with."""
    from vllm_local.cli.app import make_app

    make_app()(prog_name="vllm-local")
