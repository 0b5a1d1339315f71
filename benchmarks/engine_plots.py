"""The plots of `engine.py`, from its figures."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine_report import highest_rates, shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDES = ("this engine", "llama.cpp", "transformers")


def plot_model(model: str, measured: dict[str, Any], path: Path) -> None:
    """Draws the rates of all sides, a panel a piece of work, with the ceiling's as a dashed line."""
    from matplotlib.figure import Figure

    works = measured["work"]
    figure = Figure(figsize=(3 * len(works), 3.6), layout="constrained")
    for axes, (name, sides) in zip(figure.subplots(1, len(works)), works.items(), strict=True):
        _draw_rates(axes, sides, statistics.median(highest_rates(measured, name)))
        axes.set_title(name, fontsize="medium")
    figure.suptitle(f"{model}, bf16, random weights: tokens per second (median; line: spread; dashed: the ceiling)")
    figure.savefig(path, dpi=100)


def _draw_rates(axes: Axes, sides: dict[str, Any], ceiling: float) -> None:
    for place, side in enumerate(sides):
        values = sides[side]["tok/s"]
        middle = statistics.median(values)
        reach = ([middle - min(values)], [max(values) - middle])
        axes.bar_label(axes.bar([place], [middle], 0.8, yerr=reach), fmt="%.3g", padding=2)
    axes.axhline(ceiling, color="grey", linestyle="dashed")
    axes.set_xticks(range(len(sides)), list(sides), fontsize="small")


def plot_shares(figures: dict[str, Any], path: Path) -> None:
    """Draws what share of the ceiling every side reaches, a panel a model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    panels = figure.subplots(1, len(figures), sharey=True, squeeze=False)[0]
    for axes, (model, measured) in zip(panels, figures.items(), strict=True):
        works = [name for name in measured["work"] if "busy" not in name]
        for offset, side in enumerate(SIDES):
            heights = [statistics.median(shares(measured, work, side)) for work in works]
            places = [index + 0.28 * offset for index in range(len(works))]
            axes.bar_label(axes.bar(places, heights, 0.26, label=side), fmt="%.0f", padding=1, fontsize="small")
        axes.set_xticks([index + 0.28 for index in range(len(works))], works, fontsize="small")
        axes.set_title(model)
    panels[0].set_ylabel("% of the machine's ceiling")
    panels[0].set_ylim(0, 100)
    panels[-1].legend()
    figure.savefig(path, dpi=100)
