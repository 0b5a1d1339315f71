"""The blocks of the KV cache: who holds them, which are free, and which are known by their content."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence


class BlockPool:
    """Reference counts, an LRU queue of free blocks, and the map from content to block.

    A block is held (reference count > 0) or free. Independently of that it may be published under the hash of its
    content; a free block stays published, so that a later request finds it, until it is taken for something else.
    Taken first are free blocks that nobody could find again, then those never taken before, lowest first, then the
    published ones, least recently used first. So the blocks that were ever taken are the lowest ones, and no more than
    it needs: memory that is handed out as it is written stays untouched behind them.

    Blocks are integers from 0. The pool knows no requests; `KVCacheManager` keeps their block tables.
    """

    def __init__(self, num_blocks: int) -> None:
        """Makes a pool whose blocks are all free.

        Args:
            num_blocks: Blocks in the pool.
        """
        self._ref_counts = [0] * num_blocks
        self._hashes: list[bytes | None] = [None] * num_blocks
        self._published: dict[bytes, int] = {}
        self._num_ever_taken = 0
        # Front: the next block to be taken.
        self._free: OrderedDict[int, None] = OrderedDict((block_id, None) for block_id in range(num_blocks))

    @property
    def num_blocks(self) -> int:
        """Blocks in the pool."""
        return len(self._ref_counts)

    @property
    def num_free(self) -> int:
        """Blocks that nobody holds, published or not."""
        return len(self._free)

    @property
    def num_untouched(self) -> int:
        """Blocks that were never taken, the highest ones."""
        return len(self._ref_counts) - self._num_ever_taken

    @property
    def num_published(self) -> int:
        """Blocks that can be found by their content."""
        return len(self._published)

    def count_free(self, block_ids: Iterable[int]) -> int:
        """Returns how many of the blocks nobody holds, that is, how much smaller `num_free` is after `share`."""
        return sum(not self._ref_counts[block_id] for block_id in block_ids)

    def take(self, count: int) -> list[int]:
        """Returns blocks for new content, each held once and no longer published under the old content.

        Args:
            count: How many; at most `num_free`.
        """
        assert count <= len(self._free), f"asked for {count} blocks with {len(self._free)} free"
        block_ids = [self._free.popitem(last=False)[0] for _ in range(count)]
        for block_id in block_ids:
            self._ref_counts[block_id] = 1
            self._num_ever_taken = max(self._num_ever_taken, block_id + 1)
            self.unpublish(block_id)
        return block_ids

    def share(self, block_ids: Iterable[int]) -> None:
        """Holds published blocks once more; free ones are free no longer."""
        for block_id in block_ids:
            if not self._ref_counts[block_id]:
                del self._free[block_id]
            self._ref_counts[block_id] += 1

    def release(self, block_ids: Iterable[int]) -> None:
        """Lets go of the blocks. Of those that become free, the first given is the first to be taken again."""
        for block_id in block_ids:
            assert self._ref_counts[block_id] > 0, f"block {block_id} is released but not held"
            self._ref_counts[block_id] -= 1
            if not self._ref_counts[block_id]:
                self._free[block_id] = None
                if self._hashes[block_id] is None:
                    self._free.move_to_end(block_id, last=False)

    def find(self, block_hash: bytes) -> int | None:
        """Returns the block with that content, or None."""
        return self._published.get(block_hash)

    def hash_of(self, block_id: int) -> bytes | None:
        """Returns the hash that the block is published under, or None."""
        return self._hashes[block_id]

    def publish(self, block_id: int, block_hash: bytes) -> bool:
        """Makes a held block findable by its content.

        Returns:
            False, and nothing changes, where another block with the same content is published already.
        """
        if block_hash in self._published:
            return False
        assert self._hashes[block_id] is None, f"block {block_id} is published twice"
        self._published[block_hash] = block_id
        self._hashes[block_id] = block_hash
        return True

    def unpublish(self, block_id: int) -> None:
        """Makes the block unfindable, if it was findable; a free one is then the first to be taken."""
        block_hash = self._hashes[block_id]
        if block_hash is not None:
            del self._published[block_hash]
            self._hashes[block_id] = None
            if block_id in self._free:
                self._free.move_to_end(block_id, last=False)

    def unpublish_all(self) -> None:
        """Makes every block unfindable."""
        for block_id in list(self._published.values()):
            self.unpublish(block_id)

    def check_integrity(self, block_tables: Iterable[Sequence[int]]) -> None:
        """Checks the pool against the block tables of all requests.

        Raises:
            AssertionError: A reference count, the free queue or the content map is wrong.
        """
        held = Counter(block_id for table in block_tables for block_id in table)
        for block_id, ref_count in enumerate(self._ref_counts):
            if ref_count != held[block_id]:
                message = f"block {block_id} has reference count {ref_count}, but {held[block_id]} tables hold it"
                raise AssertionError(message)
            if (ref_count == 0) != (block_id in self._free):
                message = f"block {block_id} has reference count {ref_count}, but free is {block_id in self._free}"
                raise AssertionError(message)
        if not held.keys() <= set(range(self.num_blocks)) or len(self._free) + len(held) != self.num_blocks:
            message = f"{len(held)} held and {len(self._free)} free blocks are not the {self.num_blocks} of the pool"
            raise AssertionError(message)
        named = {block_hash: block_id for block_id, block_hash in enumerate(self._hashes) if block_hash is not None}
        if named != self._published:
            message = f"{len(named)} blocks have a hash, {len(self._published)} are published, or they differ"
            raise AssertionError(message)
