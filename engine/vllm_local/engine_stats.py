"""What an engine has done so far and is doing now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class EngineCounters:
    """Totals since the engine was loaded; written by the engine thread alone, read by anyone.

    Attributes:
        generation_tokens: Tokens generated.
        prompt_tokens: Tokens of prompts whose answers have begun, each request's once.
        requests_aborted: Requests that their callers gave up.
    """

    generation_tokens: int = 0
    prompt_tokens: int = 0
    requests_aborted: int = 0


@dataclass(frozen=True, kw_only=True)
class EngineStats:
    """A look at an engine. A request with `n > 1` counts n times where it runs or waits.

    Attributes:
        num_running: Requests being computed.
        num_waiting: Requests that wait for their turn.
        generation_tokens_total: Tokens generated since the engine was loaded.
        prompt_tokens_total: Tokens of prompts whose answers have begun.
        prefix_cache_queries: Prompt tokens looked up in the prefix cache.
        prefix_cache_hits: How many of them were found.
        num_preemptions: How often a request lost its blocks.
        kv_cache_usage: Share of the KV blocks that requests hold, in [0, 1].
        num_untouched_blocks: KV blocks that no request has ever held.
        num_requests_aborted: Requests that their callers gave up.
        num_steps_by_tokens: How many steps computed so and so many tokens.
    """

    num_running: int = 0
    num_waiting: int = 0
    generation_tokens_total: int = 0
    prompt_tokens_total: int = 0
    prefix_cache_queries: int = 0
    prefix_cache_hits: int = 0
    num_preemptions: int = 0
    kv_cache_usage: float = 0.0
    num_untouched_blocks: int = 0
    num_requests_aborted: int = 0
    num_steps_by_tokens: Mapping[int, int] = field(default_factory=dict)
