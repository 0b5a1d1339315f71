"""Blocks of training batches, made in advance by other processes where the device is faster than one of them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

from vllm_local.starter.corpus import Batch, Corpus, Mixture

Block = list[list[Batch]]
_Arrays = list[list[tuple[Any, ...]]]
_AHEAD = 2


class Feed:
    """The blocks of a corpus in their order.

    A block that is made in advance has the mixture that was asked for when its making began.

    Args:
        corpus: What the blocks are of.
        makers: Processes that make blocks; none makes each block when it is asked for.
        steps: Training steps in a block, about.

    Example:
        >>> with_makers = Feed(corpus, makers=4, steps=16)  # doctest: +SKIP
        >>> first = with_makers.block(0, mixture)  # doctest: +SKIP
    """

    def __init__(self, corpus: Corpus, makers: int, steps: int) -> None:
        self._corpus = corpus
        self._makers = makers
        self._steps = steps
        self._pool = ProcessPoolExecutor(makers, get_context("spawn")) if makers else None
        self._coming: deque[tuple[int, Future[_Arrays]]] = deque()

    def block(self, number: int, mixture: Mixture) -> Block:
        """Return a block; the numbers asked for must follow one another.

        Args:
            number: Which block.
            mixture: What the last block whose making begins now is drawn from.

        Raises:
            ValueError: If it is not the block after the last one.
        """
        if self._pool is None:
            return self._corpus.block(number, mixture, self._steps)
        following = self._coming[-1][0] + 1 if self._coming else number
        for coming in range(following, number + _AHEAD * self._makers + 1):
            self._coming.append((coming, self._pool.submit(_arrays, self._corpus, coming, mixture, self._steps)))
        found, block = self._coming.popleft()
        if found != number:
            message = f"Block {number} was asked for, but block {found} comes next."
            raise ValueError(message)
        return [[Batch(*map(torch.from_numpy, arrays)) for arrays in step] for step in block.result()]

    def close(self) -> None:
        """Stop the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _arrays(corpus: Corpus, number: int, mixture: Mixture, steps: int) -> _Arrays:
    """Return a block's batches as arrays, which travel between processes by value: so many tensors would not."""
    block = corpus.block(number, mixture, steps)
    return [[(batch.tokens.numpy(), batch.targets.numpy(), batch.answers.numpy()) for batch in step] for step in block]
