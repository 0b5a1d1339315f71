import pytest

from tests.engine.worker.fakes import cached, new
from vllm_local.worker.request_rows import RequestRows


@pytest.fixture
def rows():
    return RequestRows(num_rows=2, max_model_len=16, num_blocks=4)


def test_a_request_has_what_it_came_with_and_what_was_added(rows):
    rows.add(new("a", [1, 2, 3], blocks=[7]))
    rows.extend(cached("a", 3, tokens=[4, 5], blocks=[9, 8]))

    row = rows.indices["a"]
    assert rows.token_ids[row, :5].tolist() == [1, 2, 3, 4, 5]
    assert rows.block_table[row, :3].tolist() == [7, 9, 8]
    assert (rows.num_prompt[row], rows.num_tokens[row], rows.num_computed[row]) == (3, 5, 3)


def test_only_new_blocks_are_reported(rows):
    rows.add(new("a", [1], blocks=[7]))
    rows.has_new_blocks = False

    rows.extend(cached("a", 1, tokens=[2]))
    assert not rows.has_new_blocks
    rows.extend(cached("a", 2, tokens=[3], blocks=[5]))
    assert rows.has_new_blocks


def test_a_freed_row_is_the_next_request_s(rows):
    rows.add(new("a", [1, 2], blocks=[1, 2]))
    rows.add(new("b", [3], blocks=[3]))
    freed = rows.indices["a"]

    assert rows.remove("a")
    assert not rows.remove("a")
    rows.add(new("c", [4], blocks=[4]))
    assert rows.indices == {"b": rows.indices["b"], "c": freed}
    assert rows.num_tokens[freed] == 1


def test_a_row_without_a_request_has_no_state(rows):
    with pytest.raises(AssertionError, match="row 0 has no request"):
        rows.state(0)
