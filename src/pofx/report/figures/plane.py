"""The plane of fidelity and diversity: good samples of a part of the data, or poor samples of all of it?

Precision against recall (Kynkäänniemi et al., 2019, arXiv 1904.06991) and their clipped counterparts; the controls are
the landmarks: real test items, copies of the training data, independent marginals.
"""

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from pofx.report.figures.style import GREY, STYLE, empty, label, svg
from pofx.report.rows import Number

Panel = tuple[str, str, Mapping[str, tuple[Number, Number]]]


def planes(panels: Sequence[Panel], controls: Sequence[str], ink: Mapping[str, str]) -> str:
    """One panel per (title of x, title of y, name → (diversity, fidelity)), 95 % intervals; controls are crosses."""
    with rc_context(STYLE):
        figure = Figure(figsize=(4.9 * len(panels), 3.9), layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (x_title, y_title, points) in zip(grid, panels, strict=True):
            for name, (x, y) in points.items():
                axes.errorbar(x.value, y.value, xerr=_within(x), yerr=_within(y),
                              fmt="X" if name in controls else "o", color=ink.get(name, GREY),
                              markersize=8, elinewidth=1.1, alpha=0.95)  # fmt: skip
            axes.set_xlabel(f"{x_title}  (diversity →)")
            axes.set_ylabel(f"{y_title}  (fidelity →)")
            axes.margins(0.16)
            for get, put in ((axes.get_xlim, axes.set_xlim), (axes.get_ylim, axes.set_ylim)):
                put(max(get()[0], -0.12), min(get()[1], 1.16))
            empty(axes)
        for axes, (_, _, points) in zip(grid, panels, strict=True):
            at = {name: (x.value, y.value) for name, (x, y) in points.items()}
            label(figure, axes, at, ink, [bar for x, y in points.values() for bar in _bars(x, y)])
        return svg(figure, "planes")


def _within(number: Number) -> list[list[float]]:
    """The half-widths of a 95 % interval, cut where a share ends."""
    half = 1.96 * (number.stderr or 0.0)
    return [[min(half, max(number.value, 0.0))], [min(half, max(1 - number.value, 0.0))]]


def _bars(x: Number, y: Number) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    (left,), (right,) = _within(x)
    (low,), (high,) = _within(y)
    return [
        ((x.value - left, y.value), (x.value + right, y.value)),
        ((x.value, y.value - low), (x.value, y.value + high)),
    ]
