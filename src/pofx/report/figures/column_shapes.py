"""Columns of a table one by one, and what their pairs lose: histograms over the data's, differences as maps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from pofx.report.figures.style import GREY, INK, STYLE, empty, svg

MIDDLE = ("#c4553b", "#ece9e2", "#2f6fb4")  # too weak, as in the data, too strong


def marginals(real: Sequence[Mapping[str, Any]], models: Mapping[str, Sequence[Mapping[str, Any]]],
              ink: Mapping[str, str]) -> str:  # fmt: skip
    """One panel per column: real test items filled in grey, a line (numbers) or points (categories) per model."""
    columns = min(4, len(real))
    lines = math.ceil(len(real) / columns)
    with rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(2.5 * columns, 1.7 * lines + 0.1), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for i, (axes, column) in enumerate(zip(grid, real, strict=False)):
            own = {name: listed[i] for name, listed in models.items() if len(listed) > i}
            if "edges" in column:
                axes.stairs(column["shares"], column["edges"], fill=True, color=GREY, alpha=0.4, linewidth=0)
                for name, of in own.items():
                    if of.get("edges") == column["edges"]:
                        axes.stairs(of["shares"], of["edges"], color=ink[name], linewidth=1.1)
            else:
                names = [str(c)[:9] for c in column["categories"]]
                axes.bar(range(len(names)), column["shares"], color=GREY, alpha=0.4, width=0.9)
                for k, (name, of) in enumerate(own.items()):
                    if of.get("categories") == column["categories"]:
                        step = 0.7 * ((k + 0.5) / len(own) - 0.5)
                        at = [j + step for j in range(len(names))]
                        axes.plot(at, of["shares"], "o", color=ink[name], markersize=3.5)
                axes.set_xticks(range(len(names)), names, rotation=45 if len(names) > 4 else 0, fontsize=7)
            axes.set_title(str(column["name"])[:26], loc="left")
            highest = max(column["shares"])
            models_ = max((max(of["shares"]) for of in own.values() if len(of.get("shares", ()))), default=0.0)
            top = max(highest, min(models_, 1.5 * highest), 1e-9)  # a model in one point would flatten all others
            axes.set_ylim(0, 1.06 * top)
            axes.set_yticks([])
            if "edges" in column:
                axes.locator_params(axis="x", nbins=4)
            empty(axes)
        for axes in grid[len(real) :]:
            axes.set_visible(False)
        return svg(figure, "marginals")


def differences(
    names: Sequence[str], real: np.ndarray, models: Mapping[str, np.ndarray], ink: Mapping[str, str]
) -> str:
    """One map per model: the strength of every pair of columns less that of real items; the mean is in the title."""
    from matplotlib.colors import LinearSegmentedColormap

    columns = min(4, len(models))
    lines = math.ceil(len(models) / columns)
    side = 1.5 + 0.13 * len(names)
    scale = LinearSegmentedColormap.from_list("middle", MIDDLE)
    with rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(side * columns + 0.9, (side + 0.15) * lines + 0.5), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False)
        change = {name: own - real for name, own in models.items()}
        most = max(0.1, *(float(np.abs(c).max()) for c in change.values()))
        for k, (axes, (name, delta)) in enumerate(zip(grid.ravel(), change.items(), strict=False)):
            mesh = axes.pcolormesh(delta, cmap=scale, vmin=-most, vmax=most, edgecolors="none")
            above = delta[np.triu_indices(len(delta), 1)]
            axes.set_title(f"{name}: {float(np.abs(above).mean()):.3f}", color=ink[name], loc="left")
            axes.set_aspect("equal")
            axes.invert_yaxis()
            middle = np.arange(len(names)) + 0.5
            short = [str(n)[:12] for n in names]
            axes.set_yticks(middle, short if k % columns == 0 else [""] * len(short), fontsize=7)
            axes.set_xticks(middle, short, rotation=90, fontsize=7)
            empty(axes)
        for axes in grid.ravel()[len(models) :]:
            axes.set_visible(False)
        bar = figure.colorbar(mesh, ax=grid, shrink=0.7, aspect=18)
        bar.outline.set_edgecolor(INK)  # type: ignore[operator]
        bar.outline.set_linewidth(0)  # type: ignore[operator]
        bar.ax.tick_params(labelsize=7, length=0)
        return svg(figure, "differences")
