"""Block tables: which KV blocks hold the tokens of which request, and which blocks requests share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vllm_local.config import KVCacheConfig
from vllm_local.core.block_hash import chain_hashes, root_hash
from vllm_local.core.block_pool import BlockPool
from vllm_local.errors import UnsupportedModelError
from vllm_local.request import Request


@dataclass(slots=True)
class BlockTable:
    """One request's blocks.

    Attributes:
        root: What its hash chain starts from; None: it shares no blocks.
        block_ids: Its blocks, in the order of its tokens; empty unless it is running.
        block_hashes: Hashes of its leading full blocks, as far as they were needed; kept while it waits.
        num_published: Leading blocks that were offered to the pool under their hashes.
    """

    root: bytes | None
    block_ids: list[int] = field(default_factory=list)
    block_hashes: list[bytes] = field(default_factory=list)
    num_published: int = 0


class KVCacheManager:
    """Gives blocks to requests (PagedAttention, Kwon et al. 2023) and lets equal prefixes share them.

    A request enters with the blocks for all its known tokens (`admit`) and gets more as it grows (`grow`). A full
    block is published as soon as its tokens are *scheduled*: every layer writes K and V of the whole batch before
    attention reads them, so a request of the same step may read it already. What a failed step published is taken
    back by `unpublish_step`.

    Block tables go out as one list a KV group. This version has one group of full attention.
    """

    def __init__(self, kv_cache: KVCacheConfig) -> None:
        """Makes the tables for one KV cache.

        Args:
            kv_cache: Its blocks and groups.

        Raises:
            UnsupportedModelError: It has other groups than one of full attention.
        """
        kinds = [group.kind for group in kv_cache.groups]
        if kinds != ["full"]:
            message = f"A KV cache with groups of kind {kinds} is not supported; this version runs ['full'] alone."
            raise UnsupportedModelError(message)
        self.block_size = kv_cache.block_size
        self._pool = BlockPool(kv_cache.num_blocks)
        self._tables: dict[str, BlockTable] = {}
        self._published_in_step: list[int] = []

    @property
    def usage(self) -> float:
        """Share of the blocks that requests hold, in [0, 1]."""
        return 1.0 - self._pool.num_free / self._pool.num_blocks

    @property
    def num_free_blocks(self) -> int:
        """Blocks that no request holds."""
        return self._pool.num_free

    @property
    def num_untouched_blocks(self) -> int:
        """Blocks that no request has ever held."""
        return self._pool.num_untouched

    def num_blocks_for(self, num_tokens: int) -> int:
        """Returns how many blocks so many tokens take."""
        return -(-num_tokens // self.block_size)

    def register(self, request: Request) -> None:
        """Makes an empty table for a request."""
        keys = request.prefix_keys
        self._tables[request.request_id] = BlockTable(root=None if keys is None else root_hash(keys))

    def forget(self, request: Request) -> None:
        """Drops a request's table; its blocks must have been freed."""
        table = self._tables.pop(request.request_id)
        assert not table.block_ids, f"request {request.request_id} is forgotten while it holds blocks"

    def block_ids(self, request: Request) -> tuple[list[int], ...]:
        """Returns a copy of the request's block table, one list a KV group."""
        return (list(self._tables[request.request_id].block_ids),)

    def find_cached(self, request: Request) -> list[int]:
        """Returns the published blocks that a request without blocks could start with.

        They never cover its last token, nor a token of the prompt whose logits are asked for: those are computed.
        """
        table = self._tables[request.request_id]
        limit = request.max_cached_tokens // self.block_size
        self._extend_hashes(request, table, limit)
        found: list[int] = []
        for block_hash in table.block_hashes[:limit]:
            block_id = self._pool.find(block_hash)
            if block_id is None:
                break
            found.append(block_id)
        return found

    def admit(self, request: Request, cached_block_ids: Sequence[int], num_reserved_blocks: int) -> bool:
        """Gives a request without blocks those for all its known tokens, or nothing where they do not fit.

        Args:
            request: The request.
            cached_block_ids: What `find_cached` has just returned for it.
            num_reserved_blocks: Blocks that must stay free.
        """
        table = self._tables[request.request_id]
        assert not table.block_ids, f"request {request.request_id} is admitted twice"
        num_new_blocks = self.num_blocks_for(request.num_tokens) - len(cached_block_ids)
        num_taken = num_new_blocks + self._pool.count_free(cached_block_ids)
        if num_taken + num_reserved_blocks > self._pool.num_free:
            return False
        # Sharing first: taking could evict the very blocks that were found.
        self._pool.share(cached_block_ids)
        table.block_ids = [*cached_block_ids, *self._pool.take(num_new_blocks)]
        table.num_published = len(cached_block_ids)
        return True

    def begins_or_fills_block(self, num_computed_tokens: int, num_tokens: int) -> bool:
        """Whether so many tokens more of a running request do; else there is nothing to `grow` and to `publish`."""
        within_block = num_computed_tokens % self.block_size
        return within_block == 0 or within_block + num_tokens >= self.block_size

    def grow(self, request: Request, num_tokens: int) -> list[int] | None:
        """Extends the table of a running request.

        Args:
            request: The request.
            num_tokens: Tokens that must have a place.

        Returns:
            The blocks that were added, often none; None, and nothing changes, where too few are free.
        """
        table = self._tables[request.request_id]
        num_missing = self.num_blocks_for(num_tokens) - len(table.block_ids)
        if num_missing <= 0:
            return []
        if num_missing > self._pool.num_free:
            return None
        added = self._pool.take(num_missing)
        table.block_ids += added
        return added

    def publish(self, request: Request, num_tokens: int) -> None:
        """Lets other requests find the full blocks among the first tokens.

        Args:
            request: A running request.
            num_tokens: Tokens that are computed or scheduled, all of them confirmed (no drafts).
        """
        table = self._tables[request.request_id]
        num_full = num_tokens // self.block_size
        if table.root is None or num_full <= table.num_published:
            return
        self._extend_hashes(request, table, num_full)
        for index in range(table.num_published, num_full):
            if self._pool.publish(table.block_ids[index], table.block_hashes[index]):
                self._published_in_step.append(table.block_ids[index])
        table.num_published = num_full

    def begin_step(self) -> None:
        """Confirms what was published so far."""
        self._published_in_step.clear()

    def unpublish_step(self) -> None:
        """Takes back what was published since `begin_step`, because it was not computed after all."""
        for block_id in self._published_in_step:
            self._pool.unpublish(block_id)
        self._published_in_step.clear()

    def free(self, request: Request) -> None:
        """Takes a request's blocks; published ones can still be found until they are needed."""
        table = self._tables[request.request_id]
        # Last block first, so that a prefix outlives what follows it.
        self._pool.release(reversed(table.block_ids))
        table.block_ids = []
        table.num_published = 0

    def reset(self) -> bool:
        """Makes every block unfindable; False, and nothing changes, while requests hold blocks."""
        if self._pool.num_free < self._pool.num_blocks:
            return False
        self._pool.unpublish_all()
        return True

    def check_integrity(self) -> None:
        """Checks the tables and the pool against each other.

        Raises:
            AssertionError: They contradict each other; the message says how.
        """
        self._pool.check_integrity([table.block_ids for table in self._tables.values()])
        for request_id, table in self._tables.items():
            if len(set(table.block_ids)) != len(table.block_ids):
                raise AssertionError(f"the block table of request {request_id} holds a block twice")
            if not table.num_published <= min(len(table.block_ids), len(table.block_hashes)):
                raise AssertionError(f"request {request_id} published {table.num_published} blocks, more than it has")
            if table.root is None and table.block_hashes:
                raise AssertionError(f"request {request_id} shares no blocks, but has block hashes")
            for block_id, expected in zip(table.block_ids, table.block_hashes, strict=False):
                if self._pool.hash_of(block_id) not in {None, expected}:
                    raise AssertionError(f"block {block_id} of request {request_id} is published as something else")

    def _extend_hashes(self, request: Request, table: BlockTable, num_blocks: int) -> None:
        num_known = len(table.block_hashes)
        if table.root is None or num_blocks <= num_known:
            return
        parent = table.block_hashes[-1] if num_known else table.root
        token_ids = request.token_ids(num_known * self.block_size, num_blocks * self.block_size)
        table.block_hashes += chain_hashes(parent, token_ids, self.block_size)
