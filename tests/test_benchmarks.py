"""What the pages say was measured is what the benchmarks wrote."""

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
    assert "\n".join(work_table(figures[MODEL], targets=False)) in page
    alone = median(figures[MODEL]["work"]["decode, batch 1"]["transformers"])
    together = median(figures[MODEL]["work"]["decode, batch 16"]["this engine"])
    assert f"gets {alone:.0f} tokens per second, and {together:.0f} here" in " ".join(page.split())


def test_the_kernels_page_has_the_parts(repository, figures):
    page = (repository / "docs" / "kernels.md").read_text(encoding="utf-8")
    assert "\n".join(parts_table(figures[MODEL])) in page


def test_the_page_on_structured_output_says_what_structure_costs(repository):
    results = repository / "benchmarks" / "results" / "structured_output.json"
    measured = {name: part["figures"] for name, part in json.loads(results.read_text(encoding="utf-8")).items()}
    masks, stream, answer = measured["masks"], measured["stream"], measured["object"]
    page = (repository / "docs" / "structured-output.md").read_text(encoding="utf-8")
    assert (
        f"| {masks['masks, % of a step']:.2f} % in the median, p99 {masks['masks, p99, % of a step']:.1f} % |" in page
    )
    assert f"| {masks['fitting and advancing, % of a step']:.1f} % of a step in the median |" in page
    assert f"| {stream['p99 between tokens beside the callers, in quiet medians']:.1f} quiet medians |" in page
    assert f"an object of {answer['tokens of the object']:.0f} tokens" in page
    assert f"| {answer['seconds of the object, in those of the text']:.2f} of the time |" in page
