"""What the sampler asks of whoever reads whole vocabularies: one call a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    from vllm_local.outputs import TokenLogprobs
    from vllm_local.sampling.sampling_metadata import SamplingMetadata


@dataclass(frozen=True, eq=False)
class LogprobRequest:
    """What is described of P rows.

    Attributes:
        token_ids: Their tokens [P].
        num_top: How many of the most probable tokens each lists [P].
        named: Tokens that a row lists instead, by its index among the P.
    """

    token_ids: npt.NDArray[np.int64]
    num_top: npt.NDArray[np.int64]
    named: Mapping[int, Sequence[int]]

    def select(self, places: npt.NDArray[np.bool_]) -> LogprobRequest:
        """Returns some of the P rows."""
        kept = np.flatnonzero(places)
        named = {index: self.named[row] for index, row in enumerate(kept.tolist()) if row in self.named}
        return LogprobRequest(self.token_ids[kept], self.num_top[kept], named)


class SamplingBackend(Protocol):
    """Reads logits [R, V], float32, which may be scratch afterwards."""

    def sample(
        self, logits: torch.Tensor, metadata: SamplingMetadata
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Samples a token a row: greedy ones the largest logit, others by temperature, min_p, top_k and top_p.

        Returns:
            The tokens [R], and each row's largest logit [R]; where that is not finite, the token has no meaning. The
            next call may overwrite both.
        """

    def sample_and_describe(
        self, logits: torch.Tensor, metadata: SamplingMetadata
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], list[TokenLogprobs | None]]:
        """Does both for logits that are the model's own: describes the rows of the metadata that ask for it.

        Returns:
            What `sample` returns, and what is known of each of those rows [P], None where its logits are no numbers.
        """

    def describe(
        self, logits: torch.Tensor, request: LogprobRequest
    ) -> tuple[list[TokenLogprobs | None], npt.NDArray[np.float32]]:
        """Finds log-probabilities, ranks and alternatives of all rows, P of them.

        A token's rank is one more than the number of tokens with a larger logit, so that equals share a rank.

        Returns:
            What is known of each row [P], None where its logits are no numbers, and its largest logit [P].
        """
