"""What all layers of a step share: how requests are grouped, what their queries may see, how far they are rotated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from vllm_local.kernels.interface import AttentionMetadata

QUERY_BLOCK = 128
"""Most query tokens of a prefill chunk in one attention call; keys after a block's last query are not touched."""

SPLIT_TOKENS = 2048
"""Decode requests form a further group where that spares at least so many padded key tokens: about what one more
group costs in calls."""

MAX_KEPT_BIAS = 2**22
"""Biases of more numbers than this are made anew for every layer instead of being kept for the step."""


@dataclass(slots=True)
class QueryGroup:
    """Queries that one attention call serves: rows of decode requests, or neighbouring tokens of one request.

    Attributes:
        tokens: Where the queries are in the step: a slice, or their indices.
        blocks: [B, N], the block ids that hold their keys.
        num_keys: Keys in front of the longest query, its own included (the gathered blocks may hold more).
        positions: [B, 1, Q, 1], the queries' positions.
        needs_mask: Some query does not see all the keys.
        biases: Kept results of `bias`.
    """

    tokens: slice | torch.Tensor
    blocks: torch.Tensor
    num_keys: int
    positions: torch.Tensor
    needs_mask: bool
    biases: dict[tuple[int | None, int | None], torch.Tensor] = field(default_factory=dict)

    @property
    def queries_per_request(self) -> int:
        """1 for decode requests, any number for a prefill chunk (which is alone in its group)."""
        return self.positions.shape[2]

    def bias(self, slopes: torch.Tensor | None, window: int | None, dtype: torch.dtype) -> torch.Tensor | None:
        """Returns what is added to the scores: minus infinity where a query must not see, else ALiBi's bias or 0.

        Args:
            slopes: ALiBi's, [1, Hq, 1, 1] float32, or None.
            window: Positions that a query sees at most, or None.
            dtype: The number format that the attention call wants.

        Returns:
            [B, 1 or Hq, Q, num_keys], or None where nothing has to be added.
        """
        if slopes is None and not self.needs_mask and (window is None or window >= self.num_keys):
            return None
        key = (None if slopes is None else id(slopes), window)
        bias = self.biases.get(key)
        if bias is None:
            bias = self._make_bias(slopes, window).to(dtype)
            if bias.numel() <= MAX_KEPT_BIAS:
                self.biases[key] = bias
        return bias

    def _make_bias(self, slopes: torch.Tensor | None, window: int | None) -> torch.Tensor:
        distance = self.positions - torch.arange(self.num_keys, device=self.positions.device)  # [B, 1, Q, num_keys]
        hidden = distance < 0
        if window is not None:
            hidden |= distance >= window
        bias = torch.zeros_like(distance, dtype=torch.float32) if slopes is None else distance * -slopes
        return bias.masked_fill_(hidden, -torch.inf)


class TorchStep:
    """One step's metadata, and what is derived from it once for all layers.

    Attributes:
        slots: [T], where K and V go.
        groups: Every query, in exactly one group.
    """

    def __init__(self, metadata: AttentionMetadata, *, block_size: int) -> None:
        self.slots = metadata.slot_mapping
        self.groups = list(_decode_groups(metadata, block_size)) + list(_prefill_groups(metadata, block_size))
        self._positions = metadata.positions
        self._rotations: dict[tuple[int, float], tuple[torch.Tensor, torch.Tensor]] = {}

    def rotation(self, frequencies: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns cosine and sine [T, 1, D / 2] float32 of every token's angles.

        Args:
            frequencies: [D / 2], radians a position; the same object for layers that rotate alike.
            scale: What both are multiplied by.
        """
        key = (id(frequencies), scale)
        found = self._rotations.get(key)
        if found is None:
            angles = (self._positions[:, None].float() * frequencies)[:, None]
            found = (angles.cos() * scale, angles.sin() * scale)
            self._rotations[key] = found
        return found


def _decode_groups(metadata: AttentionMetadata, block_size: int) -> Iterator[QueryGroup]:
    lengths = metadata.host_seq_lens
    requests = [index for index, count in enumerate(metadata.query_lens) if count == 1]
    requests.sort(key=lambda index: -lengths[index])
    for members in _split_by_length(requests, lengths):
        longest = lengths[members[0]]
        blocks = metadata.block_tables[:, : -(-longest // block_size)]
        tokens: slice | torch.Tensor = slice(0, len(members))
        # A lone group stays in the batch's order: nothing to reorder.
        if len(members) < len(lengths):
            chosen = torch.tensor(members, device=blocks.device)
            blocks = blocks.index_select(0, chosen)
            tokens = metadata.query_start_loc.index_select(0, chosen).long()
        yield QueryGroup(
            tokens=tokens,
            blocks=blocks,
            num_keys=longest,
            positions=metadata.positions[tokens].view(-1, 1, 1, 1),
            needs_mask=lengths[members[-1]] < longest,
        )


def _split_by_length(requests: list[int], lengths: list[int]) -> Iterator[list[int]]:
    """Cuts requests, longest first, where starting anew with a shorter one spares enough padding."""
    start = 0
    for index in range(1, len(requests) + 1):
        at_end = index == len(requests)
        spared = 0 if at_end else (lengths[requests[start]] - lengths[requests[index]]) * (len(requests) - index)
        if at_end or spared >= SPLIT_TOKENS:
            yield requests[start:index]
            start = index


def _prefill_groups(metadata: AttentionMetadata, block_size: int) -> Iterator[QueryGroup]:
    first = 0
    for request, (count, length) in enumerate(zip(metadata.query_lens, metadata.host_seq_lens, strict=True)):
        for start in range(0, count, QUERY_BLOCK) if count > 1 else ():
            end = min(start + QUERY_BLOCK, count)
            num_keys = length - count + end
            tokens = slice(first + start, first + end)
            yield QueryGroup(
                tokens=tokens,
                blocks=metadata.block_tables[request : request + 1, : -(-num_keys // block_size)],
                num_keys=num_keys,
                positions=metadata.positions[tokens].view(1, 1, -1, 1),
                needs_mask=True,
            )
        first += count
