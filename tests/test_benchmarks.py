"""What the pages say of speed is what was measured."""

import json

import pytest

from benchmarks.engine_report import median, parts_table, report, work_table

MODEL = "qwen2.5-0.5b"


@pytest.fixture(scope="module")
def figures(repository):
    return json.loads((repository / "benchmarks" / "results" / "engine.json").read_text(encoding="utf-8"))


def test_the_report_shows_the_figures(repository, figures):
    assert (repository / "benchmarks" / "results" / "engine.md").read_text(encoding="utf-8") == report(figures)


def test_the_readme_has_the_full_models_table(repository, figures):
    page = (repository / "README.md").read_text(encoding="utf-8")
    assert "\n".join(work_table(figures[MODEL])) in page
    alone = median(figures[MODEL]["work"]["decode, batch 1"]["transformers"])
    together = median(figures[MODEL]["work"]["decode, batch 16"]["this engine"])
    assert f"gets {alone:.0f} tokens per second, and {together:.0f} here" in " ".join(page.split())


def test_the_kernels_page_has_the_parts(repository, figures):
    page = (repository / "docs" / "kernels.md").read_text(encoding="utf-8")
    assert "\n".join(parts_table(figures[MODEL])) in page
