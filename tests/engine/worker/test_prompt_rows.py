import numpy as np

from vllm_local.worker.prompt_rows import MAX_PROMPT_ROWS, PromptRows


def rows(request_id, *indices):
    positions = np.array(indices, dtype=np.int64)
    return PromptRows([request_id] * len(indices), positions, positions + 1000, positions % 3)


def listed(found):
    columns = (found.indices.tolist(), found.token_ids.tolist(), found.num_top_logprobs.tolist())
    return list(zip(found.request_ids, *columns, strict=True))


def test_requests_are_joined_in_order():
    joined = PromptRows.join([rows("a", 3, 4), rows("b"), rows("c", 9)])
    assert listed(joined) == [("a", 3, 1003, 0), ("a", 4, 1004, 1), ("c", 9, 1009, 0)]


def test_slices_hold_every_row_once_and_are_small():
    joined = PromptRows.join([rows("a", *range(100)), rows("b", *range(100, 170))])
    parts = list(joined.slices())
    assert [len(part.request_ids) for part in parts] == [MAX_PROMPT_ROWS, MAX_PROMPT_ROWS, 170 - 2 * MAX_PROMPT_ROWS]
    assert [row for part in parts for row in listed(part)] == listed(joined)


def test_no_rows_have_no_slices():
    assert list(rows("a").slices()) == []
