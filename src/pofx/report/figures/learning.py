"""Quality against training time: the validation loss of every seed, and the training loss of the first, per model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from pofx.report.figures.style import STYLE, empty, svg

History = Sequence[Mapping[str, Any]]


def curves(histories: Mapping[str, Sequence[History]], ink: Mapping[str, str]) -> str:
    """Losses against seconds: one panel per model, each with its own scale; one dotted line per seed.

    A ring marks the best validation of a seed, whose weights are used.
    """
    columns = min(4, max(1, len(histories)))
    lines = math.ceil(len(histories) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(2.25 * columns, 1.75 * lines + 0.2), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, (name, runs) in zip(grid, histories.items(), strict=False):
            axes.plot(*_pairs(runs[0], "loss"), color=ink[name], linewidth=0.9, alpha=0.4)
            for i, history in enumerate(runs):
                x, y = _pairs(history, "validation")
                axes.plot(x, y, color=ink[name], marker="o", ms=2.6, linestyle=("-", "--", ":", "-.")[i % 4], lw=1.3)
                if y:
                    best = min(range(len(y)), key=y.__getitem__)
                    axes.plot(x[best], y[best], "o", ms=6.5, mfc="none", color=ink[name])
            shown = sorted(v for h in runs for key in ("loss", "validation") for v in _pairs(h, key)[1])
            if len(shown) > 10:  # the first steps may tower over the rest
                low, high = shown[0], shown[int(0.97 * (len(shown) - 1))]
                pad = 0.08 * (high - low) or 1.0
                axes.set_ylim(low - pad, high + pad)
            axes.set_title(name, color=ink[name], loc="left")
            axes.locator_params(nbins=4)
            empty(axes)
        for axes in grid[len(histories) :]:
            axes.set_visible(False)
        figure.supxlabel("seconds of training", fontsize=9)
        return svg(figure, "curves")


def _pairs(history: History, key: str) -> tuple[list[float], list[float]]:
    found = [(h["seconds"], h[key]) for h in history if h.get(key) is not None and math.isfinite(h[key])]
    return [x for x, _ in found], [y for _, y in found]
