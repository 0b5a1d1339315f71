from pathlib import Path

from vllm_local.structured_output.json_schema import MAX_ENUM_VALUES, MAX_ITEMS, MAX_LENGTH
from vllm_local.structured_output.schema_keywords import (
    ASSERTIONS,
    FORMATS,
    HARMLESS,
    NEEDS,
    REFUSED,
    SUBSCHEMA_LISTS,
    SUBSCHEMA_MAPS,
    SUBSCHEMAS,
)

PAGE = (Path(__file__).parents[3] / "docs" / "structured-output.md").read_text(encoding="utf-8")


def test_a_keyword_is_kept_or_refused():
    kept = {*ASSERTIONS, *SUBSCHEMAS, *SUBSCHEMA_LISTS, *SUBSCHEMA_MAPS}
    assert not kept & set(REFUSED)
    assert {*HARMLESS, *NEEDS} <= set(REFUSED)


def test_the_user_guide_lists_what_is_refused():
    for keyword, instead in REFUSED.items():
        assert f"| `{keyword}` | {instead} |" in PAGE
    assert all(f"`{name}`" in PAGE for name in FORMATS)
    assert all(str(limit) in PAGE for limit in (MAX_ITEMS, MAX_LENGTH, MAX_ENUM_VALUES))
