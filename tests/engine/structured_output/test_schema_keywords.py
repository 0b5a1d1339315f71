import json
from pathlib import Path

from vllm_local.structured_output.json_schema import MAX_ENUM_VALUES, MAX_ITEMS, MAX_LENGTH, MAX_PROPERTIES
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

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "structured-output.md").read_text(encoding="utf-8")
MEASURED = json.loads((ROOT / "benchmarks" / "results" / "json_schema.json").read_text(encoding="utf-8"))


def test_a_keyword_is_kept_or_refused():
    kept = {*ASSERTIONS, *SUBSCHEMAS, *SUBSCHEMA_LISTS, *SUBSCHEMA_MAPS}
    assert not kept & set(REFUSED)
    assert {*HARMLESS, *NEEDS} <= set(REFUSED)


def test_the_user_guide_lists_what_is_refused():
    for keyword, instead in REFUSED.items():
        assert f"| `{keyword}` | {instead} |" in PAGE
    assert all(f"`{name}`" in PAGE for name in FORMATS)
    assert all(str(limit) in PAGE for limit in (MAX_ITEMS, MAX_LENGTH, MAX_ENUM_VALUES, MAX_PROPERTIES))


def test_the_user_guide_lists_what_schemas_were_refused_for():
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    for reason in MEASURED["refused"]:
        shown = "no value fits" if reason == "no value fits" else f"`{reason}`"
        assert any(shown in row.split(" | ")[0] for row in rows), reason


def test_the_user_guide_says_what_was_measured():
    assert not MEASURED["wrong"]
    assert MEASURED["lists"]["real"]["accepted"] >= 0.95 * MEASURED["lists"]["real"]["schemas"]
    for measured in MEASURED["lists"].values():
        answers = measured["answers"]
        assert f"{measured['accepted']:,} of {measured['schemas']:,} " in PAGE
        assert f"{answers['right']:,} of {answers['right'] + answers['wrong']:,}" in PAGE
