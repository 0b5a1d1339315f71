"""Who is in a batch with how many tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int64]


@dataclass(slots=True, eq=False)
class BatchLayout:
    """What depends on who is in a batch with how many tokens, and on nothing else: it serves many steps of decoding.

    Attributes:
        request_ids: The requests [R].
        rows: Their rows [R].
        query_lens: Their tokens [R].
        host_query_lens: The same as a list.
        query_ends: Index behind each request's last token [R].
        token_requests: Each token's request, as an index among the R [T].
        token_rows: Its row [T].
        token_offsets: Its position, less the number of tokens that its request has with K and V after the step [T].
    """

    request_ids: list[str]
    rows: IntArray
    query_lens: IntArray
    host_query_lens: list[int]
    query_ends: IntArray
    token_requests: IntArray
    token_rows: IntArray
    token_offsets: IntArray

    @classmethod
    def build(cls, request_ids: list[str], rows: IntArray, host_query_lens: list[int]) -> BatchLayout:
        """Lays out a batch."""
        assert min(host_query_lens) > 0, "a scheduled request has no tokens"
        query_lens = np.array(host_query_lens, dtype=np.int64)
        query_ends = query_lens.cumsum()
        token_requests = np.repeat(np.arange(len(rows)), query_lens)
        return cls(
            request_ids=request_ids,
            rows=rows,
            query_lens=query_lens,
            host_query_lens=host_query_lens,
            query_ends=query_ends,
            token_requests=token_requests,
            token_rows=rows[token_requests],
            token_offsets=np.arange(query_ends[-1]) - query_ends[token_requests],
        )
