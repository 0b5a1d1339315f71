"""The tables of `engine.py`, from its figures."""

from __future__ import annotations

import statistics
from typing import Any

HIGH_BANDWIDTH = 65.0
"""GB/s: two cores of a shared machine read either well below this or well above."""

_HEAD = "| | this engine | llama.cpp | transformers | × llama.cpp |"
_PARTS_HEAD = "| | measured | target |"


def report(figures: dict[str, Any]) -> str:
    """Returns the tables of all models, and what they were measured with, as Markdown."""
    lines = [
        "# This engine beside llama.cpp and transformers",
        "",
        "Written by `make bench-engine`. Tokens per second, median (and spread) of rounds in which the sides take",
        "turns; in brackets, the share of what the machine can do at most, which each round measures anew.",
    ]
    for model, measured in figures.items():
        lines += ["", f"## {model}", "", recipe(measured), "", *work_table(measured, targets=True)]
        if "sampling" in measured:
            lines += ["", *parts_table(measured)]
    return "\n".join(lines) + "\n"


def recipe(measured: dict[str, Any]) -> str:
    """Says what the figures were measured with, and the ceilings."""
    read, operations = (list(values) for values in zip(*ceilings(measured), strict=True))
    return (
        f"{measured['machine']}; kernels for {measured['instruction set']}; {len(read)} rounds. Memory is read at "
        f"{spread(read)} GB/s, {measured['multiplies']} multiplied and added at {spread(operations)} "
        f"GFLOP/s. transformers computes in {measured['multiplies']}."
    )


def ceilings(measured: dict[str, Any]) -> list[tuple[float, float]]:
    """Returns each round's highest rates: GB/s read, and GFLOP/s."""
    sides = [side for work in measured["work"].values() for side in work.values()]
    read = [max(values) for values in zip(*(side["read, GB/s"] for side in sides), strict=True)]
    operations = [max(values) for values in zip(*(side["multiply-adds, GFLOP/s"] for side in sides), strict=True)]
    return list(zip(read, operations, strict=True))


def highest_rates(measured: dict[str, Any], work: str) -> list[float]:
    """Returns the tokens per second that each round's ceilings allow for a piece of work."""
    cost = measured["per token"][work]
    return [1 / max(cost["GB"] / read, cost["GFLOP"] / operations) for read, operations in ceilings(measured)]


def shares(measured: dict[str, Any], work: str, side: str) -> list[float]:
    """Returns each round's share of the ceiling in percent."""
    rates = measured["work"][work][side]["tok/s"]
    return [100 * rate / high for rate, high in zip(rates, highest_rates(measured, work), strict=True)]


def work_table(measured: dict[str, Any], *, targets: bool) -> list[str]:
    """Returns the table of what all sides do.

    Args:
        measured: One model's figures.
        targets: There is a column of what this engine aims at.
    """
    lines = [_HEAD, "|---|---|---|---|---|"]
    for name, sides in measured["work"].items():
        ratio = median(sides["this engine"]) / median(sides["llama.cpp"])
        cells = [_cell(measured, name, side) for side in ("this engine", "llama.cpp", "transformers")]
        lines.append(f"| {name} | {' | '.join(cells)} | {ratio:.2f} |")
    if not targets:
        return lines
    column = (" target |", "---|", *(f" {_target(name, measured)} |" for name in measured["work"]))
    return [line + cell for line, cell in zip(lines, column, strict=True)]


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


def _cell(measured: dict[str, Any], work: str, side: str) -> str:
    if side not in measured["work"][work]:
        return ""
    found = measured["work"][work][side]
    digits = 1 if median(found) < 100 else 0
    return f"{spread(found['tok/s'], digits)} [{statistics.median(shares(measured, work, side)):.0f} %]"


def _target(name: str, measured: dict[str, Any]) -> str:
    """Returns what this engine aims at."""
    if "busy" in name:
        return ""
    if name.startswith("prefill"):
        return "≥ 1.6 × llama.cpp, ≥ 75 %"
    if name == "decode, batch 1":
        read = statistics.median(read for read, _ in ceilings(measured))
        return f"≥ 1.15 × llama.cpp, ≥ {75 if read > HIGH_BANDWIDTH else 85} %"
    return "≥ 2 × llama.cpp"
