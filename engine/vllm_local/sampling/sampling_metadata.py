"""What the sampler has to know of the rows of a step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from vllm_local.sampling.backend import LogprobRequest
from vllm_local.sampling.bad_words import BadWords
from vllm_local.sampling.candidates import TokenFilters
from vllm_local.sampling.draw_stream import DrawStream
from vllm_local.sampling.masks import TokenBias
from vllm_local.sampling.penalties import PenaltyRows, TokenCounts, needs_counts

if TYPE_CHECKING:
    from vllm_local.sampling_params import SamplingParams
    from vllm_local.step_io import NewRequestData

GREEDY_TEMPERATURE = 1e-5
"""Below it the most probable token is taken (vLLM's bound)."""


class SamplingState:
    """How one request samples, and what its next draw depends on.

    Attributes:
        params: Its sampling parameters.
        draws: Its random numbers.
        end_token_ids: Tokens that end its answer, which `min_tokens` holds back.
        counts: Its tokens, where a penalty needs them, else None.
        bad_words: What it must not write, or None.
        follows_answer: Whether it has to hear of further tokens.
    """

    __slots__ = ("bad_words", "counts", "draws", "end_token_ids", "follows_answer", "params")

    def __init__(self, data: NewRequestData) -> None:
        """Takes over a request at whatever point of its answer."""
        self.params: SamplingParams = data.sampling_params
        self.draws = DrawStream(data.seed, data.choice_index)
        self.end_token_ids = sorted(data.eos_token_ids | set(self.params.stop_token_ids))
        self.counts: TokenCounts | None = None
        self.bad_words: BadWords | None = None
        answer = data.token_ids[data.num_prompt_tokens :]
        if data.bad_words_token_ids:
            self.bad_words = BadWords(data.bad_words_token_ids, answer)
        if needs_counts(self.params):
            prompt = data.token_ids[: data.num_prompt_tokens] if self.params.repetition_penalty != 1.0 else ()
            self.counts = TokenCounts(prompt, answer)
        self.follows_answer = self.counts is not None or self.bad_words is not None

    def append(self, token_ids: Iterable[int]) -> None:
        """Takes note of further tokens of the answer."""
        if self.counts is not None:
            self.counts.append(token_ids)
        if self.bad_words is not None:
            self.bad_words.append(token_ids)


def limiting_top_k(params: SamplingParams, vocab_size: int) -> int:
    """Returns top_k, or 0 where it leaves all tokens."""
    return params.top_k if params.top_k < vocab_size else 0


def log_min_p_of(params: SamplingParams) -> float:
    """Returns the logarithm of min_p; of none, minus infinity."""
    return math.log(params.min_p) if params.min_p > 0 else -math.inf


@dataclass(frozen=True, eq=False)
class RandomRows:
    """The rows that draw.

    Attributes:
        rows: Their indices among all rows [N].
        temperature: [N, 1] float32.
        log_min_p: [N, 1] float32, or None where no row has a min_p.
        unfiltered: Indices among the N of those with neither top_k nor top_p.
        filtered: Indices among the N of the others [F].
        filters: top_k and top_p of the latter.
    """

    rows: npt.NDArray[np.int64]
    temperature: torch.Tensor
    log_min_p: torch.Tensor | None
    unfiltered: npt.NDArray[np.int64]
    filtered: npt.NDArray[np.int64]
    filters: TokenFilters

    @classmethod
    def build(
        cls, rows: Sequence[int], params: Sequence[SamplingParams], vocab_size: int, device: torch.device
    ) -> RandomRows:
        """Collects the rows that draw, given their parameters."""
        top_k = np.array([limiting_top_k(item, vocab_size) for item in params], dtype=np.int64)
        top_p = np.array([item.top_p for item in params], dtype=np.float64)
        is_filtered = (top_k > 0) | (top_p < 1)
        temperature = [item.temperature for item in params]
        log_min_p = [log_min_p_of(item) for item in params]
        has_min_p = any(value > -math.inf for value in log_min_p)
        return cls(
            rows=np.array(rows, dtype=np.int64),
            temperature=torch.tensor(temperature, dtype=torch.float32, device=device)[:, None],
            log_min_p=torch.tensor(log_min_p, dtype=torch.float32, device=device)[:, None] if has_min_p else None,
            unfiltered=np.flatnonzero(~is_filtered),
            filtered=np.flatnonzero(is_filtered),
            filters=TokenFilters(top_k[is_filtered], top_p[is_filtered]),
        )


@dataclass(frozen=True, eq=False)
class SamplingMetadata:
    """How the R rows of a step are sampled. A row is a position of a request; one request may have several.

    All but `output_positions` is fixed while the same requests are sampled, so that an instance serves many steps.

    Attributes:
        states: The rows' requests [R].
        output_positions: Index in the answer of the token that each row samples [R] int64; written before each step.
        vocab_size: Tokens of the vocabulary.
        device: Where the logits are.
        drawn: Rows that draw; the others take the most probable token.
        bias: Logit biases of all rows.
        allowed: (row, tokens) of rows that allow no others.
        bad_words: (row, words) of rows that must not write them; live, as the words follow their answers.
        held_back: (row, min_tokens, end tokens) of rows that must reach a length first.
        penalised: Rows with penalties.
        logprob_rows: Rows that ask for log-probabilities [P].
        num_top_logprobs: How many alternatives each of them lists [P].
        named_logprobs: Tokens that one of them lists instead, by its index among the P.
    """

    states: tuple[SamplingState, ...]
    output_positions: npt.NDArray[np.int64]
    vocab_size: int
    device: torch.device
    drawn: tuple[int, ...]
    bias: TokenBias | None
    allowed: tuple[tuple[int, torch.Tensor], ...]
    bad_words: tuple[tuple[int, BadWords], ...]
    held_back: tuple[tuple[int, int, torch.Tensor], ...]
    penalised: PenaltyRows
    logprob_rows: npt.NDArray[np.int64]
    num_top_logprobs: npt.NDArray[np.int64]
    named_logprobs: Mapping[int, Sequence[int]]

    @classmethod
    def build(cls, states: Sequence[SamplingState], vocab_size: int, device: torch.device) -> SamplingMetadata:
        """Collects the rows' parameters into arrays on the device that holds the logits."""
        params = [state.params for state in states]
        asking = [(row, item) for row, item in enumerate(params) if item.reports_logprobs]
        num_top = [0 if item.logprob_token_ids else item.logprobs or 0 for _, item in asking]
        return cls(
            states=tuple(states),
            output_positions=np.zeros(len(states), dtype=np.int64),
            vocab_size=vocab_size,
            device=device,
            drawn=tuple(row for row, item in enumerate(params) if item.temperature >= GREEDY_TEMPERATURE),
            bias=TokenBias.build(params, device),
            allowed=tuple(_allowed(params, device)),
            bad_words=tuple((row, state.bad_words) for row, state in enumerate(states) if state.bad_words is not None),
            held_back=tuple(_held_back(states, device)),
            penalised=PenaltyRows.build(
                [(row, state.params, state.counts) for row, state in enumerate(states) if state.counts is not None]
            ),
            logprob_rows=np.array([row for row, _ in asking], dtype=np.int64),
            num_top_logprobs=np.array(num_top, dtype=np.int64),
            named_logprobs={
                index: item.logprob_token_ids for index, (_, item) in enumerate(asking) if item.logprob_token_ids
            },
        )

    @cached_property
    def greedy(self) -> npt.NDArray[np.int64]:
        """The rows that take the most probable token."""
        return np.setdiff1d(np.arange(len(self.states)), self.drawn)

    @cached_property
    def random(self) -> RandomRows:
        """The rows that draw, in arrays."""
        return RandomRows.build(
            self.drawn, [self.states[row].params for row in self.drawn], self.vocab_size, self.device
        )

    @cached_property
    def describes(self) -> bool:
        """Whether a row asks for log-probabilities."""
        return len(self.logprob_rows) > 0

    @cached_property
    def keeps_logits(self) -> bool:
        """Whether no row changes its logits before sampling, as far as the rows' parameters go."""
        edits = (self.bias, self.allowed, self.bad_words, self.held_back, self.penalised.counts)
        return not any(edits)

    def logprob_request(self, token_ids: npt.NDArray[np.int64]) -> LogprobRequest:
        """Returns what is described of the rows that ask for it, given the tokens of all rows [R]."""
        return LogprobRequest(token_ids[self.logprob_rows], self.num_top_logprobs, self.named_logprobs)

    def uniforms(self) -> npt.NDArray[np.float64]:
        """Returns the random number of each row that draws [N]."""
        return np.array([self.uniform(row) for row in self.drawn], dtype=np.float64)

    def uniform(self, row: int) -> float:
        """Returns the random number of a row that draws."""
        return self.states[row].draws.uniform(int(self.output_positions[row]))


def _allowed(params: Sequence[SamplingParams], device: torch.device) -> Iterable[tuple[int, torch.Tensor]]:
    for row, item in enumerate(params):
        if item.allowed_token_ids is not None:
            yield row, torch.tensor(sorted(set(item.allowed_token_ids)), device=device)


def _held_back(states: Sequence[SamplingState], device: torch.device) -> Iterable[tuple[int, int, torch.Tensor]]:
    for row, state in enumerate(states):
        if state.params.min_tokens and state.end_token_ids:
            yield row, state.params.min_tokens, torch.tensor(state.end_token_ids, device=device)
