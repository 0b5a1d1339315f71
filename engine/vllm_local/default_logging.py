"""Shows what the engine says at start to people whose program has not set up logging."""

from __future__ import annotations

import contextlib
import logging
import sys

_PACKAGE = "vllm_local"


class DefaultHandler(logging.Handler):
    """Writes plain lines to stderr for as long as the program has no handlers of its own."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line, unless a handler of the program's gets the record anyway."""
        if logging.getLogger().handlers:
            return
        # stderr may be absent, closed or full, and a message that cannot be shown must not end the load it tells of.
        with contextlib.suppress(Exception):
            sys.stderr.write(f"{self.format(record)}\n")


def show_messages() -> None:
    """Lets INFO and above through to stderr: sizes, downloads, what was detected.

    Nothing changes where the program has configured logging, at the root or for this package, or does so later.
    """
    package = logging.getLogger(_PACKAGE)
    if package.handlers or package.level != logging.NOTSET or logging.getLogger().handlers:
        return
    handler = DefaultHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    package.addHandler(handler)
    package.setLevel(logging.INFO)
