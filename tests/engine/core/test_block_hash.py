"""Names of blocks: chained, stable, and told apart by everything that K and V depend on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vllm_local
from vllm_local.core.block_hash import HASH_SIZE, chain_hashes, root_hash

ROOT = root_hash(())


def test_one_hash_per_full_block():
    assert chain_hashes(ROOT, [1, 2, 3], 4) == []
    assert len(chain_hashes(ROOT, range(11), 4)) == 2
    assert [len(block_hash) for block_hash in chain_hashes(ROOT, range(12), 4)] == [HASH_SIZE] * 3


def test_chain_can_be_continued_from_its_last_hash():
    whole = chain_hashes(ROOT, range(12), 4)
    first = chain_hashes(ROOT, range(4), 4)
    assert whole == first + chain_hashes(first[-1], range(4, 12), 4)


def test_a_block_is_named_by_what_comes_before_it_too():
    same_second_block = [chain_hashes(ROOT, [*first, 7, 8], 2)[1] for first in ([1, 2], [2, 1], [1, 3])]
    assert len(set(same_second_block)) == 3


def test_large_token_ids_are_told_apart():
    assert chain_hashes(ROOT, [1], 1) != chain_hashes(ROOT, [1 + 2**32], 1)


@pytest.mark.parametrize("keys", [("",), ("a",), ("a", "b"), ("ab",), ("b", "a"), ("a", ""), ("", "a"), ("\ud800",)])
def test_prefix_keys_are_told_apart(keys):
    others = {(), ("",), ("a",), ("a", "b"), ("ab",), ("b", "a"), ("a", ""), ("", "a"), ("\ud800",)} - {keys}
    assert root_hash(keys) not in {root_hash(other) for other in others}
    assert root_hash(keys) == root_hash(tuple(keys))


def test_hashes_are_the_same_in_every_process():
    code = """
from vllm_local.core.block_hash import chain_hashes, root_hash
print(chain_hashes(root_hash(("salt",)), range(8), 4)[1].hex(), end="")
"""
    path = str(Path(vllm_local.__file__).parents[1])
    results = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert results == {chain_hashes(root_hash(("salt",)), range(8), 4)[1].hex()}
