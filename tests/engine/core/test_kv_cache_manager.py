"""Block tables and the prefix cache, without a scheduler."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.engine.core.fakes import make_kv_cache, make_request
from vllm_local.config import KVCacheConfig
from vllm_local.core.kv_cache_manager import KVCacheManager
from vllm_local.errors import UnsupportedModelError


@pytest.fixture
def manager():
    return KVCacheManager(make_kv_cache(num_blocks=8, block_size=4))


def enter(manager, request, reserved=0):
    """Registers and admits a request as the scheduler does; returns its cached blocks."""
    manager.register(request)
    cached = manager.find_cached(request)
    assert manager.admit(request, cached, reserved)
    return cached


def compute(manager, request, num_tokens=None):
    manager.publish(request, request.num_tokens if num_tokens is None else num_tokens)


def leave(manager, request):
    manager.free(request)
    manager.forget(request)


def table(manager, request):
    (block_ids,) = manager.block_ids(request)
    return block_ids


@pytest.mark.parametrize(("num_tokens", "num_blocks"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2)])
def test_num_blocks_for(manager, num_tokens, num_blocks):
    assert manager.num_blocks_for(num_tokens) == num_blocks


def test_admission_gives_blocks_for_all_known_tokens(manager):
    request = make_request("a", 9)
    request.output_token_ids = [1, 2, 3, 4]
    assert enter(manager, request) == []
    assert len(table(manager, request)) == 4
    assert manager.usage == 0.5
    assert manager.num_free_blocks == 4


def test_blocks_once_held_are_touched_for_good(manager):
    first, second = make_request("a", 9), make_request("b", 13)
    assert manager.num_untouched_blocks == 8
    enter(manager, first)
    assert manager.num_untouched_blocks == 5
    leave(manager, first)
    enter(manager, second)
    assert manager.num_untouched_blocks == 4, "the second took three that the first had, and one more"


def test_admission_that_does_not_fit_changes_nothing(manager):
    request = make_request("a", 29)
    manager.register(request)
    assert not manager.admit(request, [], 1)
    assert manager.num_free_blocks == 8
    assert table(manager, request) == []
    assert manager.admit(request, [], 0)


def test_growth_adds_blocks_only_when_needed(manager):
    request = make_request("a", 3)
    enter(manager, request)
    before = table(manager, request)
    assert manager.grow(request, 4) == []
    added = manager.grow(request, 5)
    assert len(added) == 1
    assert table(manager, request) == before + added
    assert manager.grow(request, 33) is None
    assert table(manager, request) == before + added


def test_block_ids_are_a_copy(manager):
    request = make_request("a", 3)
    enter(manager, request)
    table(manager, request).append(99)
    assert 99 not in table(manager, request)


def test_published_blocks_are_shared_by_a_request_of_the_same_step(manager):
    first, second = make_request("a", range(10)), make_request("b", range(10))
    enter(manager, first)
    compute(manager, first)
    assert enter(manager, second) == table(manager, first)[:2]
    assert table(manager, second)[:2] == table(manager, first)[:2]
    assert table(manager, second)[2] != table(manager, first)[2]
    assert manager.num_free_blocks == 4
    manager.check_integrity()


def test_only_what_is_scheduled_is_shared(manager):
    first, second = make_request("a", range(12)), make_request("b", range(12))
    enter(manager, first)
    compute(manager, first, 7)
    assert enter(manager, second) == table(manager, first)[:1]


@pytest.mark.parametrize(("num_tokens", "num_hits"), [(4, 0), (5, 1), (7, 1), (8, 1), (9, 2), (13, 3), (20, 3)])
def test_a_hit_never_covers_the_last_token(manager, num_tokens, num_hits):
    first = make_request("a", range(13))
    enter(manager, first)
    compute(manager, first)
    leave(manager, first)
    second = make_request("b", range(num_tokens))
    assert len(enter(manager, second)) == num_hits


def test_the_answer_is_shared_with_the_next_turn_of_the_conversation(manager):
    first = make_request("a", range(6))
    enter(manager, first)
    first.output_token_ids = [50, 51]
    compute(manager, first)
    leave(manager, first)
    assert len(enter(manager, make_request("b", [*range(6), 50, 51, 60]))) == 2


def test_a_different_token_ends_the_hit(manager):
    first = make_request("a", range(16))
    enter(manager, first)
    compute(manager, first)
    leave(manager, first)
    assert len(enter(manager, make_request("b", [*range(9), 99, *range(10, 16)]))) == 2


@pytest.mark.parametrize("keys", [("salt",), None])
def test_other_prefix_keys_share_nothing(manager, keys):
    first, second = make_request("a", range(9)), make_request("b", range(9), prefix_keys=keys)
    enter(manager, first)
    compute(manager, first)
    assert enter(manager, second) == []
    compute(manager, second)
    leave(manager, first)
    leave(manager, second)
    third = make_request("c", range(9), prefix_keys=keys)
    assert len(enter(manager, third)) == (0 if keys is None else 2)


def test_a_hit_on_free_blocks_counts_as_taking_them(manager):
    first = make_request("a", range(25))
    enter(manager, first)
    compute(manager, first)
    leave(manager, first)
    second = make_request("b", range(25))
    manager.register(second)
    cached = manager.find_cached(second)
    assert len(cached) == 6
    assert not manager.admit(second, cached, 2)
    assert manager.admit(second, cached, 1)
    assert manager.num_free_blocks == 1


def test_taking_new_blocks_does_not_evict_the_hit_itself(manager):
    first = make_request("a", range(13))
    enter(manager, first)
    compute(manager, first)
    leave(manager, first)
    filler = make_request("filler", 20)
    enter(manager, filler)
    second = make_request("b", range(12))
    cached = enter(manager, second)
    assert len(cached) == 2
    assert len(set(table(manager, second))) == 3


def test_the_end_of_a_freed_prefix_is_evicted_before_its_beginning(manager):
    first = make_request("a", range(32))
    enter(manager, first)
    compute(manager, first)
    leave(manager, first)
    other = make_request("other", 9)
    enter(manager, other)
    leave(manager, other)
    assert len(enter(manager, make_request("b", range(30)))) == 5


def test_a_failed_step_leaves_nothing_to_be_found(manager):
    first, second = make_request("a", range(13)), make_request("b", range(13))
    enter(manager, first)
    compute(manager, first, 4)
    manager.begin_step()
    compute(manager, first, 13)
    manager.unpublish_step()
    assert len(enter(manager, second)) == 1
    manager.check_integrity()


def test_reset_waits_until_no_block_is_held(manager):
    first = make_request("a", range(9))
    enter(manager, first)
    compute(manager, first)
    assert not manager.reset()
    manager.free(first)
    assert len(manager.find_cached(first)) == 2
    assert manager.reset()
    assert manager.find_cached(first) == []
    manager.check_integrity()


def test_one_group_of_full_attention_is_what_this_version_runs():
    config = make_kv_cache()
    for groups in ((), config.groups * 2, (replace(config.groups[0], kind="sliding"),)):
        with pytest.raises(UnsupportedModelError, match="runs \\['full'\\] alone"):
            KVCacheManager(KVCacheConfig(num_blocks=4, block_size=4, groups=groups))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda table: table.block_ids.append(table.block_ids[0]), "reference count"),
        (lambda table: setattr(table, "num_published", 9), "published 9 blocks, more than it has"),
        (lambda table: table.block_hashes.reverse(), "is published as something else"),
        (lambda table: setattr(table, "root", None), "shares no blocks, but has block hashes"),
    ],
)
def test_check_integrity_names_the_damage(manager, damage, message):
    request = make_request("a", range(9))
    enter(manager, request)
    compute(manager, request)
    manager.check_integrity()
    damage(manager._tables["a"])
    with pytest.raises(AssertionError, match=message):
        manager.check_integrity()


def test_a_table_never_holds_a_block_twice(manager):
    request = make_request("a", range(3))
    enter(manager, request)
    manager._tables["a"].block_ids *= 2
    manager._pool.share(table(manager, request)[:1])
    with pytest.raises(AssertionError, match="holds a block twice"):
        manager.check_integrity()


def test_a_request_that_holds_blocks_cannot_be_forgotten(manager):
    request = make_request("a", range(3))
    enter(manager, request)
    with pytest.raises(AssertionError, match="while it holds blocks"):
        manager.forget(request)
