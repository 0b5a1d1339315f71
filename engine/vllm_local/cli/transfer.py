"""Files that may lie behind a URL."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from vllm_local.errors import InvalidConfigError, VLLMLocalError

_TRIES = 5
_PAUSE_SECONDS = 5.0
_TIMEOUT_SECONDS = 1000.0


def is_url(path: str) -> bool:
    """Whether a path is a URL."""
    return path.startswith(("http://", "https://"))


@contextlib.contextmanager
def local_input(path: str) -> Iterator[Path]:
    """Gives a file to read; one behind a URL is fetched first.

    Raises:
        InvalidConfigError: There is no such file.
        VLLMLocalError: It cannot be fetched.
    """
    if not is_url(path):
        if not Path(path).is_file():
            raise InvalidConfigError(f"There is no input file {path}.")
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="vllm-local-") as folder:
        file = Path(folder) / "input.jsonl"
        try:
            with httpx.stream("GET", path, timeout=_TIMEOUT_SECONDS, follow_redirects=True) as response:
                response.raise_for_status()
                with file.open("wb") as output:
                    for part in response.iter_bytes():
                        output.write(part)
        except httpx.HTTPError as error:
            raise VLLMLocalError(f"{path} cannot be fetched: {error}") from error
        yield file


@contextlib.contextmanager
def local_output(path: str, folder: str | None = None) -> Iterator[Path]:
    """Gives a file to write; for a URL it is sent there (HTTP PUT) when everything is written.

    Args:
        path: A path or a URL.
        folder: Where the file for a URL lies meanwhile; the system's temporary folder by default.

    Raises:
        InvalidConfigError: The folder does not exist.
        VLLMLocalError: It cannot be sent.
    """
    if not is_url(path):
        if not Path(path).parent.is_dir():
            raise InvalidConfigError(f"There is no folder {Path(path).parent} for the output file.")
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="vllm-local-", dir=folder) as temporary:
        file = Path(temporary) / "output.jsonl"
        yield file
        _send(path, file)


def _send(url: str, file: Path) -> None:
    for tries_left in reversed(range(_TRIES)):
        try:
            with file.open("rb") as content:
                httpx.put(url, content=content, timeout=_TIMEOUT_SECONDS).raise_for_status()
        except httpx.HTTPError as error:
            if not tries_left:
                raise VLLMLocalError(f"The output cannot be sent to {url}: {error}") from error
            time.sleep(_PAUSE_SECONDS)
        else:
            return
