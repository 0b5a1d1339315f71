"""What the pages say was measured is what the benchmarks wrote."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def results(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def test_the_page_on_structured_output_says_what_structure_costs():
    measured = {part: found["figures"] for part, found in results("structured_output").items()}
    masks, stream, answer = measured["masks"], measured["stream"], measured["object"]
    page = (ROOT / "docs" / "structured-output.md").read_text(encoding="utf-8")
    assert (
        f"| {masks['masks, % of a step']:.2f} % in the median, p99 {masks['masks, p99, % of a step']:.1f} % |" in page
    )
    assert f"| {masks['fitting and advancing, % of a step']:.1f} % of a step in the median |" in page
    assert f"| {stream['p99 between tokens beside the callers, in quiet medians']:.1f} quiet medians |" in page
    assert f"an object of {answer['tokens of the object']:.0f} tokens" in page
    assert f"| {answer['seconds of the object, in those of the text']:.2f} of the time |" in page
