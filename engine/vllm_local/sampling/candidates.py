"""Draws under top_k, top_p and min_p from a few candidates a row, with ever more of them where they do not suffice.

Semantics are vLLM's, in its order: min_p against the most probable token; then the top_k largest, ties with the last of
them included; then the fewest of those, most probable first, whose probabilities among those left reach top_p. Among
equal logits the lower token id counts as more probable, so that the outcome depends on nothing but the row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from vllm_local.sampling.blocks import BLOCK_SIZE, as_blocks, block_maxima, pick, total_weight

CANDIDATE_COUNTS = (80, 1024)
"""How many candidates are tried before the whole row is sorted. The first leaves room for ties beyond top_k=64."""
_BLOCKS_WORTH_SCANNING = 4
"""Looking at block maxima first pays when there are so many times more blocks than candidates."""


@dataclass(frozen=True, eq=False)
class TokenFilters:
    """Filters of F rows.

    Attributes:
        top_k: [F] int64, 0 for all tokens.
        top_p: [F] float64.
    """

    top_k: npt.NDArray[np.int64]
    top_p: npt.NDArray[np.float64]

    def select(self, rows: npt.NDArray[np.int64]) -> TokenFilters:
        """Returns the filters of some of the rows."""
        return TokenFilters(self.top_k[rows], self.top_p[rows])


def apply_min_p(scaled: torch.Tensor, log_min_p: torch.Tensor) -> None:
    """Forbids tokens less probable than min_p times the most probable one.

    Args:
        scaled: Logits over temperature, less the row's largest [N, W]; changed in place.
        log_min_p: Logarithm of min_p [N, 1], -inf where a row has none.
    """
    scaled.masked_fill_(scaled < log_min_p, -torch.inf)


def draw_filtered(
    scaled: torch.Tensor, filters: TokenFilters, uniforms: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Draws a token from each row under its filters.

    Args:
        scaled: Logits over temperature, less the row's largest [F, W], W a multiple of `BLOCK_SIZE`.
        filters: top_k and top_p of the rows.
        uniforms: A number in [0, 1) a row [F].

    Returns:
        The tokens [F].
    """
    tokens = np.empty(len(scaled), dtype=np.int64)
    mass = _masses(scaled, filters)
    pending = np.arange(len(scaled))
    for count in (*CANDIDATE_COUNTS, scaled.shape[1]):
        rows = scaled if len(pending) == len(scaled) else scaled[torch.from_numpy(pending).to(scaled.device)]
        values, token_ids = top_candidates(rows, count)
        weights, complete = filter_candidates(values, filters.select(pending), mass[pending], scaled.shape[1])
        done = pending[complete]
        picked, _ = pick(weights[complete], uniforms[done])
        tokens[done] = token_ids[complete][np.arange(len(done)), picked]
        pending = pending[~complete]
        if not len(pending):
            break
    return tokens


def _masses(scaled: torch.Tensor, filters: TokenFilters) -> npt.NDArray[np.float64]:
    """Returns what top_p is a share of, for rows without top_k; the others sum their candidates."""
    mass = np.zeros(len(scaled))
    unlimited = np.flatnonzero(filters.top_k == 0)
    if len(unlimited) == len(scaled):
        return total_weight(scaled)
    if len(unlimited):
        mass[unlimited] = total_weight(scaled[torch.from_numpy(unlimited).to(scaled.device)])
    return mass


def top_candidates(rows: torch.Tensor, count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Returns the largest values of each row [R, W] and their tokens, both [R, min(count, W)].

    In order of falling value, and of rising token id among equals. Which of several values equal to the last one are
    there is left open.
    """
    width = rows.shape[1]
    if count >= width:
        values, token_ids = rows.sort(dim=1, descending=True, stable=True)
        return values.cpu().numpy().astype(np.float64), token_ids.cpu().numpy()
    if width >= _BLOCKS_WORTH_SCANNING * count * BLOCK_SIZE:
        values, token_ids = _scan_blocks(rows, count)
    else:
        values, token_ids = rows.topk(count, dim=1)
    found, ids = values.cpu().numpy().astype(np.float64), token_ids.cpu().numpy()
    order = np.lexsort((ids, -found), axis=1)
    return np.take_along_axis(found, order, 1), np.take_along_axis(ids, order, 1)


def _scan_blocks(rows: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Looks for the largest values in the blocks with the largest maxima only; nothing larger can be elsewhere."""
    blocks = block_maxima(rows).topk(count, dim=1).indices
    every = torch.arange(len(rows), device=rows.device)[:, None]
    values, places = as_blocks(rows)[every, blocks].flatten(1).topk(count, dim=1)
    return values, blocks.gather(1, places // BLOCK_SIZE) * BLOCK_SIZE + places % BLOCK_SIZE


def filter_candidates(
    values: npt.NDArray[np.float64], filters: TokenFilters, mass: npt.NDArray[np.float64], width: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Applies top_k and top_p to candidates and tells whether the outcome is that of the whole row.

    Args:
        values: The largest logits of each row, less its largest one, in falling order [F, K].
        filters: top_k and top_p of the rows.
        mass: Sum of exp over the whole row [F]; read only where top_k is 0.
        width: Values in a whole row (W).

    Returns:
        The candidates' weights, 0 where a filter drops them [F, K], and for each row [F] whether nothing outside the
        candidates could have been kept or could have stood in the place of what was.
    """
    limited = filters.top_k > 0
    last_of_top_k = np.clip(filters.top_k, 1, values.shape[1]) - 1
    smallest = np.where(limited, np.take_along_axis(values, last_of_top_k[:, None], 1)[:, 0], -np.inf)
    weights = np.where(values >= smallest[:, None], np.exp(values), 0.0)
    cumulative = weights.cumsum(1)
    share = filters.top_p * np.where(limited, cumulative[:, -1], mass)
    needed = np.where(filters.top_p < 1, share, np.inf)
    kept = np.where(cumulative - weights < needed[:, None], weights, 0.0)
    if values.shape[1] == width:
        return kept, np.ones(len(values), dtype=np.bool_)
    last = values[:, -1]
    boundary = np.take_along_axis(values, np.count_nonzero(kept, axis=1)[:, None] - 1, 1)[:, 0]
    reached = cumulative[:, -1] >= needed
    complete = np.where(limited, (filters.top_k <= values.shape[1]) & (smallest > last), reached & (boundary > last))
    return kept, complete | np.isneginf(last)
