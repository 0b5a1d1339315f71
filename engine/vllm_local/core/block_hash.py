"""Hashes that name a KV block by its content and by everything before it.

K and V of a token depend on all tokens before it, so a block is named by a chain: each hash covers the hash of the
block before. The idea is that of automatic prefix caching in vLLM and of Merkle chains at large. BLAKE2b
(RFC 7693) with 128 bits makes an accidental collision impossible in practice and does not depend on PYTHONHASHSEED.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b

HASH_SIZE = 16
"""Bytes of a block hash."""

_INT64 = "q"
_TOKEN_SIZE = array(_INT64).itemsize


def root_hash(prefix_keys: Sequence[str]) -> bytes:
    """Returns the hash that a chain starts from.

    Args:
        prefix_keys: What else K and V (or the right to share them) depend on: a cache salt, later an adapter.
    """
    digest = blake2b(digest_size=HASH_SIZE)
    for key in prefix_keys:
        encoded = key.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.digest()


def chain_hashes(parent: bytes, token_ids: Sequence[int], block_size: int) -> list[bytes]:
    """Returns the hashes of consecutive full blocks.

    Args:
        parent: Hash of the block before the first, or the root.
        token_ids: Tokens of the blocks; a partial block at the end is left out.
        block_size: Tokens in a block.
    """
    step = block_size * _TOKEN_SIZE
    view = memoryview(array(_INT64, token_ids).tobytes())
    hashes = []
    for start in range(0, len(view) - step + 1, step):
        digest = blake2b(parent, digest_size=HASH_SIZE)
        digest.update(view[start : start + step])
        parent = digest.digest()
        hashes.append(parent)
    return hashes
