"""Training health: every series that a training logged beside its losses, one small panel each, a line per seed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from pofx.report.figures.style import STYLE, empty, svg

History = Sequence[Mapping[str, Any]]
COLUMNS = 4
STYLES = ("-", "--", ":", "-.")  # of the seeds
CUT = 0.98  # share of the values that the axis of a long series must hold


def series(history: History) -> dict[str, tuple[list[float], list[float]]]:
    """The series of a run by name: seconds and finite values."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for point in history:
        for name, value in (point.get("telemetry") or {}).items():
            if isinstance(value, int | float) and math.isfinite(value):
                x, y = found.setdefault(name, ([], []))
                x.append(float(point["seconds"]))
                y.append(float(value))
    return found


def panels(runs: Sequence[History], colour: str, salt: str) -> str:
    """The series of one model; empty where it logged none."""
    read = [series(history) for history in runs]
    names = list(dict.fromkeys(name for one in read for name in one))
    if not names:
        return ""
    columns, lines = min(COLUMNS, len(names)), math.ceil(len(names) / COLUMNS)
    with rc_context(STYLE):
        figure = Figure(figsize=(2.25 * columns, 1.45 * lines + 0.25), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, name in zip(grid, names, strict=False):
            values = []
            for i, one in enumerate(read):
                if name in one:
                    x, y = one[name]
                    marker = "o" if len(x) == 1 else None
                    axes.plot(x, y, color=colour, lw=1.2, linestyle=STYLES[i % 4], marker=marker, ms=3)
                    values += y
            low, high = _ends(sorted(values))
            pad = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
            axes.set_ylim(low - pad, high + pad)
            axes.set_title(name, loc="left", fontsize=8)
            axes.locator_params(nbins=3)
            empty(axes)
        for axes in grid[len(names) :]:
            axes.set_visible(False)
        figure.supxlabel("seconds of training", fontsize=8)
        return svg(figure, f"health-{salt}")


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The range of an axis: a few peaks of a long series do not flatten the rest."""
    if len(values) < 20:
        return values[0], values[-1]
    return values[int((1 - CUT) * (len(values) - 1))], values[math.ceil(CUT * (len(values) - 1))]
