"""The plots of `engine.py`, from its figures."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDES = ("this engine", "llama.cpp", "transformers")


def plot_model(model: str, measured: dict[str, Any], path: Path) -> None:
    """Draws the rates of all sides, a panel a piece of work, with the ceiling's as a dashed line."""
    from matplotlib.figure import Figure

    works = measured["work"]
    figure = Figure(figsize=(3 * len(works), 3.6), layout="constrained")
    for axes, (name, sides) in zip(figure.subplots(1, len(works)), works.items(), strict=True):
        _draw_rates(axes, name, sides)
    figure.suptitle(f"{model}, bf16, random weights: tokens per second (median; line: spread; dashed: the ceiling)")
    figure.savefig(path, dpi=100)


def _draw_rates(axes: Axes, name: str, sides: dict[str, Any]) -> None:
    for place, side in enumerate(SIDES):
        values = sides[side]["tok/s"]
        middle = statistics.median(values)
        reach = ([middle - min(values)], [max(values) - middle])
        axes.bar_label(axes.bar([place], [middle], 0.8, yerr=reach), fmt="%.4g", padding=2)
    rates, shares = sides["this engine"]["tok/s"], sides["this engine"]["% of the ceiling"]
    ceiling = statistics.median(100 * rate / share for rate, share in zip(rates, shares, strict=True))
    axes.axhline(ceiling, color="grey", linestyle="dashed")
    axes.set_title(name, fontsize="medium")
    axes.set_xticks(range(len(SIDES)), SIDES, fontsize="small")


def plot_shares(figures: dict[str, Any], path: Path) -> None:
    """Draws what share of the ceiling every side reaches, a panel a model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    panels = figure.subplots(1, len(figures), sharey=True, squeeze=False)[0]
    for axes, (model, measured) in zip(panels, figures.items(), strict=True):
        works = {name: sides for name, sides in measured["work"].items() if "busy" not in name}
        for offset, side in enumerate(SIDES):
            shares = [statistics.median(sides[side]["% of the ceiling"]) for sides in works.values()]
            places = [index + 0.28 * offset for index in range(len(works))]
            axes.bar_label(axes.bar(places, shares, 0.26, label=side), fmt="%.0f", padding=1, fontsize="small")
        axes.set_xticks([index + 0.28 for index in range(len(works))], list(works), fontsize="small")
        axes.set_title(model)
    panels[0].set_ylabel("% of the machine's ceiling")
    panels[0].set_ylim(0, 100)
    panels[-1].legend()
    figure.savefig(path, dpi=100)
