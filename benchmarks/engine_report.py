"""The tables of `engine.py`, from its figures."""

from __future__ import annotations

import statistics
from typing import Any

HIGH_BANDWIDTH = 65.0
"""GB/s: two cores of a shared machine read either well below this or well above."""

_HEAD = "| | this engine | llama.cpp | transformers | × llama.cpp | target |"
_PARTS_HEAD = "| | measured | target |"


def report(figures: dict[str, Any]) -> str:
    """Returns the tables of all models, and what they were measured with, as Markdown."""
    lines = [
        "# This engine beside llama.cpp and transformers",
        "",
        "Written by `make bench-engine`. Tokens per second, median (and spread) of rounds in which the sides take",
        "turns; in brackets, the share of what the machine can do at most, measured beside each figure.",
    ]
    for model, measured in figures.items():
        lines += ["", f"## {model}", "", recipe(measured), "", *work_table(measured)]
        if "sampling" in measured:
            lines += ["", *parts_table(measured)]
    return "\n".join(lines) + "\n"


def recipe(measured: dict[str, Any]) -> str:
    """Says what the figures were measured with, and the ceilings."""
    sides = [side for work in measured["work"].values() for side in work.values()]
    read = [value for side in sides for value in side["read, GB/s"]]
    operations = [value for side in sides for value in side["multiply-adds, GFLOP/s"]]
    rounds = len(sides[0]["tok/s"])
    return (
        f"{measured['machine']}; kernels for {measured['instruction set']}; {rounds} rounds. Memory is read at "
        f"{spread(read)} GB/s, {measured['multiplies']} multiplied and added at {spread(operations)} "
        f"GFLOP/s. transformers computes in {measured['multiplies']}."
    )


def work_table(measured: dict[str, Any]) -> list[str]:
    """Returns the table of what all sides do."""
    lines = [_HEAD, "|---|---|---|---|---|---|"]
    for name, sides in measured["work"].items():
        ratio = median(sides["this engine"]) / median(sides["llama.cpp"])
        cells = [_cell(sides[side]) for side in ("this engine", "llama.cpp", "transformers")]
        lines.append(f"| {name} | {' | '.join(cells)} | {ratio:.2f} | {_target(name, measured)} |")
    return lines


def parts_table(measured: dict[str, Any]) -> list[str]:
    """Returns the table of this engine's own figures."""
    lines = [_PARTS_HEAD, "|---|---|---|"]
    for side in ("this engine", "llama.cpp"):
        target = "≥ 35 %" if side == "this engine" else ""
        lines.append(
            f"| {side} beside a busy core, of the quiet rate | {busy_share(measured, side):.0f} % | {target} |"
        )
    for name, target in (("sampling", "≤ 5 %"), ("sampling, flat", "")):
        for batch, found in measured[name].items():
            share, step = spread(found["% of a step"], 1), statistics.median(found["step, ms"])
            lines.append(f"| {name}, {batch} | {share} % of {step:.1f} ms | {target} |")
    for batch, found in measured["overhead"].items():
        target = "< 5 %" if batch == "batch 1" else "< 300 µs"
        micros, share = spread(found["µs"]), spread(found["% of a step"], 1)
        lines.append(f"| outside of native functions, {batch} | {micros} µs, {share} % | {target} |")
    return lines


def busy_share(measured: dict[str, Any], side: str) -> float:
    """Returns the rate beside a busy core in percent of the quiet one."""
    quiet = measured["work"]["decode, batch 1"][side]
    return 100 * median(measured["work"]["decode, batch 1, one core busy"][side]) / median(quiet)


def median(found: dict[str, list[float]]) -> float:
    """Returns the median of a side's rates."""
    return statistics.median(found["tok/s"])


def spread(values: list[float], digits: int = 0) -> str:
    """Writes a median and, in parentheses, the smallest and largest value."""
    numbers = [f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
    return f"{numbers[0]} ({numbers[1]}–{numbers[2]})"


def _cell(found: dict[str, list[float]]) -> str:
    digits = 1 if median(found) < 100 else 0
    return f"{spread(found['tok/s'], digits)} [{statistics.median(found['% of the ceiling']):.0f} %]"


def _target(name: str, measured: dict[str, Any]) -> str:
    """Returns what this engine should reach, as issue and design have it for the full model."""
    if "busy" in name:
        return ""
    if name.startswith("prefill"):
        return "≥ 1.6 × llama.cpp, ≥ 75 %"
    if name == "decode, batch 1":
        read = statistics.median(measured["work"][name]["this engine"]["read, GB/s"])
        return f"≥ 1.15 × llama.cpp, ≥ {75 if read > HIGH_BANDWIDTH else 85} %"
    return "≥ 2 × llama.cpp"
