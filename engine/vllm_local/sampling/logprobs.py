"""Log-probabilities of sampled tokens and of their best alternatives."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from vllm_local.outputs import TokenLogprobs
from vllm_local.sampling.blocks import block_maxima, total_weight
from vllm_local.sampling.candidates import top_candidates


def compute_logprobs(
    logits: torch.Tensor,
    token_ids: npt.NDArray[np.int64],
    num_top: npt.NDArray[np.int64],
    named: Mapping[int, Sequence[int]] | None = None,
) -> list[TokenLogprobs]:
    """Describes each row's token, and others beside it, under the given distribution.

    A token's rank is one more than the number of tokens with a larger logit, so that equals share a rank.

    Args:
        logits: Logits [P, W], W a multiple of `BLOCK_SIZE`; overwritten.
        token_ids: The rows' tokens [P].
        num_top: How many of the most probable tokens each row lists [P].
        named: Tokens that a row lists instead, by row.
    """
    logits.sub_(block_maxima(logits).amax(1, keepdim=True))
    log_mass = np.log(total_weight(logits))
    sampled = logits.gather(1, torch.from_numpy(token_ids).to(logits.device)[:, None])
    ranks = _ranks(logits, sampled).tolist()
    logprobs = sampled[:, 0].cpu().numpy().astype(np.float64) - log_mass
    best_values, best_ids = _best(logits, int(num_top.max()))
    best_logprobs = best_values - log_mass[:, None]
    described = [
        TokenLogprobs(
            token_id=int(token_ids[row]),
            logprob=float(logprobs[row]),
            rank=rank,
            top_token_ids=tuple(best_ids[row, : num_top[row]].tolist()),
            top_logprobs=tuple(best_logprobs[row, : num_top[row]].tolist()),
        )
        for row, rank in enumerate(ranks)
    ]
    for row, ids in (named or {}).items():
        described[row] = _list_named(described[row], logits[row], ids, float(log_mass[row]))
    return described


def _ranks(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return (logits > values).sum(1) + 1


def _list_named(item: TokenLogprobs, logits: torch.Tensor, ids: Sequence[int], log_mass: float) -> TokenLogprobs:
    values = logits[torch.tensor(ids, device=logits.device)]
    return dataclasses.replace(
        item,
        top_token_ids=tuple(ids),
        top_logprobs=tuple((values.double() - log_mass).tolist()),
        top_ranks=tuple(_ranks(logits, values[:, None]).tolist()),
    )


def _best(logits: torch.Tensor, count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    if count == 0:
        return np.empty((len(logits), 0)), np.empty((len(logits), 0), dtype=np.int64)
    return top_candidates(logits, count)
