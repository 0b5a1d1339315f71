"""Reference counts, LRU order and the content map, and that check_integrity() sees each kind of damage."""

from __future__ import annotations

import random

import pytest

from vllm_local.core.block_pool import BlockPool

A, B, C = b"a", b"b", b"c"


def published_pool():
    """Three free blocks, published as A, B, C; A was used least recently."""
    pool = BlockPool(3)
    block_ids = pool.take(3)
    for block_id, block_hash in zip(block_ids, (A, B, C), strict=True):
        assert pool.publish(block_id, block_hash)
    pool.release(block_ids)
    return pool, block_ids


def test_all_blocks_are_free_at_first_and_come_out_once():
    pool = BlockPool(4)
    assert pool.num_free == 4
    assert sorted(pool.take(3) + pool.take(1)) == [0, 1, 2, 3]
    assert pool.num_free == 0


def test_a_shared_block_is_free_only_after_its_last_holder():
    pool = BlockPool(2)
    block_ids = pool.take(1)
    pool.share(block_ids)
    pool.release(block_ids)
    assert pool.num_free == 1
    pool.release(block_ids)
    assert pool.num_free == 2


def test_a_free_published_block_is_found_and_held_again():
    pool, block_ids = published_pool()
    assert pool.num_free == 3
    assert pool.count_free(block_ids) == 3
    pool.share([pool.find(B)])
    assert pool.num_free == 2
    assert pool.count_free(block_ids) == 2
    assert pool.find(B) == block_ids[1]


def test_the_least_recently_used_block_is_taken_first_and_forgotten():
    pool, block_ids = published_pool()
    pool.share([block_ids[0]])
    pool.release([block_ids[0]])
    assert pool.take(1) == [block_ids[1]]
    assert (pool.find(A), pool.find(B), pool.find(C)) == (block_ids[0], None, block_ids[2])
    assert pool.num_published == 2


def test_blocks_that_nobody_can_find_are_taken_before_published_ones():
    pool, block_ids = published_pool()
    pool.unpublish(block_ids[2])
    (taken,) = pool.take(1)
    pool.release([taken])
    assert pool.take(1) == [taken]


def test_untouched_blocks_are_the_highest_and_taken_only_when_needed():
    pool = BlockPool(6)
    assert pool.num_untouched == 6
    pool.publish(pool.take(2)[0], A)
    pool.release([0, 1])
    assert (pool.num_untouched, pool.take(1)) == (4, [1]), "one that nobody could find again comes first"
    assert (pool.num_untouched, pool.take(4)) == (4, [2, 3, 4, 5]), "then those never taken"
    assert (pool.num_untouched, pool.find(A)) == (0, 0)
    assert pool.take(1) == [0], "what could be found is given up last"
    assert pool.take(0) == []


def test_forgotten_content_makes_room_before_untouched_blocks_do():
    pool = BlockPool(6)
    pool.publish(pool.take(2)[0], A)
    pool.publish(1, B)
    pool.release([0, 1])
    pool.unpublish_all()
    assert sorted(pool.take(2)) == [0, 1]
    assert pool.num_untouched == 4
    pool.check_integrity([[0, 1]])


def test_the_highest_block_ever_taken_is_the_number_of_touched_ones():
    draw, pool = random.Random(0), BlockPool(40)
    held: list[int] = []
    seen: set[int] = set()
    for step in range(2000):
        if draw.random() < 0.5 and held:
            pool.release([held.pop(draw.randrange(len(held)))])
        elif pool.num_free:
            (block_id,) = pool.take(1)
            held.append(block_id)
            seen.add(block_id)
            if draw.random() < 0.5:
                pool.publish(block_id, str(step).encode())
        if draw.random() < 0.02:
            pool.unpublish_all()
        assert seen == set(range(pool.num_blocks - pool.num_untouched))
        assert len(seen) < 40 or pool.num_untouched == 0


def test_equal_content_is_published_once():
    pool = BlockPool(2)
    first, second = pool.take(2)
    assert pool.publish(first, A)
    assert not pool.publish(second, A)
    assert pool.find(A) == first
    assert (pool.hash_of(first), pool.hash_of(second)) == (A, None)


def test_unpublish_all_leaves_holders_alone():
    pool, block_ids = published_pool()
    pool.share(block_ids[:1])
    pool.unpublish_all()
    assert pool.num_published == 0
    assert pool.find(A) is None
    pool.check_integrity([block_ids[:1]])


def test_misuse_is_caught():
    pool = BlockPool(2)
    block_ids = pool.take(1)
    with pytest.raises(AssertionError, match="asked for 2 blocks with 1 free"):
        pool.take(2)
    pool.publish(block_ids[0], A)
    with pytest.raises(AssertionError, match="published twice"):
        pool.publish(block_ids[0], B)
    pool.release(block_ids)
    with pytest.raises(AssertionError, match="released but not held"):
        pool.release(block_ids)


def test_a_sound_pool_passes():
    pool, block_ids = published_pool()
    pool.share(block_ids[:2])
    pool.share(block_ids[:1])
    pool.check_integrity([block_ids[:2], block_ids[:1]])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda pool: pool.share([0]), "block 0 has reference count 2, but 1 tables hold it"),
        (lambda pool: pool.release([0]), "block 0 has reference count 0, but 1 tables hold it"),
        (lambda pool: pool._free.pop(1), "block 1 has reference count 0, but free is False"),
        (lambda pool: pool._free.update({0: None}), "block 0 has reference count 1, but free is True"),
        (lambda pool: pool._free.update({7: None}), "1 held and 3 free blocks are not the 3 of the pool"),
        (lambda pool: pool._published.pop(A), "3 blocks have a hash, 2 are published"),
        (lambda pool: pool._published.update({A: 2}), "or they differ"),
    ],
)
def test_check_integrity_names_the_damage(damage, message):
    pool, block_ids = published_pool()
    pool.share(block_ids[:1])
    damage(pool)
    with pytest.raises(AssertionError, match=message):
        pool.check_integrity([block_ids[:1]])


def test_check_integrity_sees_a_block_that_does_not_exist():
    with pytest.raises(AssertionError, match="not the 2 of the pool"):
        BlockPool(2).check_integrity([[5]])
