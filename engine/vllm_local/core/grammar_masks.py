"""The bitmasks of a step's grammars, made on a thread of their own while the model computes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for

import numpy as np
import numpy.typing as npt

from vllm_local.request import Request

_BITS_PER_WORD = 32
_EVERYTHING = np.int32(-1)


class GrammarMasks:
    """Fills one bitmask a step; the runner joins it just before it samples.

    Between `begin` and the end of the step nobody else may touch the grammars: they are not safe to use from two
    threads at once.
    """

    def __init__(self, vocab_size: int) -> None:
        """Starts no thread before the first grammar comes.

        Args:
            vocab_size: Tokens of the model.
        """
        self._num_words = -(-vocab_size // _BITS_PER_WORD)
        self._thread: ThreadPoolExecutor | None = None
        self._running: Future[npt.NDArray[np.int32]] | None = None

    def begin(self, requests: Sequence[Request]) -> Future[npt.NDArray[np.int32]] | None:
        """Starts to fill the rows of the requests that are sampled in this step.

        Args:
            requests: In the order of the batch.

        Returns:
            The bitmask to come, [len(requests), ceil(vocab_size / 32)], or None if no request has a grammar. Where a
            grammar fails, nothing is allowed in its row, and `Request.grammar_error` says why.
        """
        if all(request.grammar is None for request in requests):
            return None
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="vllm-local grammar")
        self._running = self._thread.submit(self._fill, list(requests))
        return self._running

    def settle(self) -> None:
        """Waits until no grammar is in use; for steps that failed before they joined the bitmask."""
        if self._running is not None:
            wait_for([self._running])

    def _fill(self, requests: list[Request]) -> npt.NDArray[np.int32]:
        bitmask = np.full((len(requests), self._num_words), _EVERYTHING, dtype=np.int32)
        for row, request in enumerate(requests):
            if request.grammar is None:
                continue
            try:
                request.grammar.fill_bitmask(bitmask, row)
            except Exception as error:  # noqa: BLE001 - one request's grammar must not stop the others'
                bitmask[row] = 0
                request.grammar_error = f"its grammar gave up: {error}"
        return bitmask
