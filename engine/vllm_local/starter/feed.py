"""Blocks of conversations, made in advance by other processes where the device is faster than one of them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

from vllm_local.starter.corpus import Corpus, Mixture, Sample

_AHEAD = 2


class Feed:
    """The blocks of a corpus in their order.

    A block that is made in advance has the mixture that was asked for when its making began.

    Args:
        corpus: What the blocks are of.
        makers: Processes that make blocks; none makes each block when it is asked for.
        tokens: Tokens in a block, about.

    Example:
        >>> with_makers = Feed(corpus, makers=4, tokens=1_000_000)  # doctest: +SKIP
        >>> first = with_makers.block(0, mixture)  # doctest: +SKIP
    """

    def __init__(self, corpus: Corpus, makers: int, tokens: int) -> None:
        self._corpus = corpus
        self._makers = makers
        self._tokens = tokens
        self._pool = ProcessPoolExecutor(makers, get_context("spawn")) if makers else None
        self._coming: deque[tuple[int, Future[list[Sample]]]] = deque()

    def block(self, number: int, mixture: Mixture) -> list[Sample]:
        """Return a block; the numbers asked for must follow one another.

        Args:
            number: Which block.
            mixture: What the last block whose making begins now is drawn from.

        Raises:
            ValueError: If it is not the block after the last one.
        """
        if self._pool is None:
            return self._corpus.samples(number, mixture, self._tokens)
        following = self._coming[-1][0] + 1 if self._coming else number
        for coming in range(following, number + _AHEAD * self._makers + 1):
            self._coming.append((coming, self._pool.submit(self._corpus.samples, coming, mixture, self._tokens)))
        found, block = self._coming.popleft()
        if found != number:
            message = f"Block {number} was asked for, but block {found} comes next."
            raise ValueError(message)
        return block.result()

    def close(self) -> None:
        """Stop the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
