"""Fréchet distance against 1/n: where the line meets the axis is the distance without the bias of few items.

Both sides are subsampled; the bias at n goes as 1/n and differs from model to model (Chong and Forsyth, 2020, arXiv
1911.07023), so that two models may change places before the axis.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from pofx.report.figures.style import GREY, STYLE, empty, svg
from pofx.report.numbers import plain


@dataclass(frozen=True)
class Line:
    """Points (1/n, distance) of one row, the intercept and the slope of the line through them."""

    points: tuple[tuple[float, float], ...]
    intercept: float
    slope: float


def extrapolation(lines: Mapping[str, Line], floor: str, ink: Mapping[str, str]) -> str:
    """Points, the line to 1/n = 0 and the intercept (ring) of every row; `floor` names the real items, dashed."""
    with rc_context(STYLE):
        figure = Figure(figsize=(6.8, 4.1), layout="constrained")
        axes = figure.subplots()
        right = max(u for line in lines.values() for u, _ in line.points)
        ends = []
        for name, line in lines.items():
            colour = GREY if name == floor else ink[name]
            style = (0, (4, 3)) if name == floor else "-"
            axes.plot(*zip(*line.points, strict=True), "o", color=colour, markersize=3.5)
            u = np.linspace(0, right, 60)  # a line is no straight one on a logarithmic axis
            axes.plot(u, line.intercept + line.slope * u, color=colour, lw=1.3, ls=style)
            axes.plot(0, line.intercept, "o", color=colour, mfc="none", ms=8, clip_on=False, zorder=5)
            ends.append((line.intercept + line.slope * right, name, colour))
        values = [y for line in lines.values() for _, y in line.points]
        if min(values) > 0 and max(values) / min(values) > 8:  # even about 0, where an intercept may fall below it
            width = min(values)
            axes.set_yscale("asinh", linear_width=width)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: "" if 0 < abs(y) < 0.3 * width else plain(y)))
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlim(0, right * 1.02)
        axes.margins(y=0.08)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda u, _: "∞" if u <= 0 else f"{1 / u:,.0f}"))
        axes.set_xticks([0, *np.linspace(0, right, 5)[1:]])
        axes.set_xlabel("items on each side, n  (on a scale of 1/n)")
        axes.set_ylabel("Fréchet distance")
        empty(axes)
        _names(figure, axes, ends, right * 1.02)
        return svg(figure, "extrapolation")


def _names(figure: Figure, axes: object, ends: list[tuple[float, str, str]], right: float) -> None:
    """Names at the right ends of the lines, pushed apart where they would cover one another."""
    figure.draw_without_rendering()
    low = -1e9
    for value, name, colour in sorted(ends):
        at = axes.transData.transform((right, value))[1]  # type: ignore[attr-defined]
        place = max(at, low + 12 * figure.dpi / 72)
        low = place
        axes.annotate(name, (right, value), (6, (place - at) * 72 / figure.dpi - 3.5),  # type: ignore[attr-defined]
                      textcoords="offset points", color=colour, fontsize=9, fontweight="bold",
                      annotation_clip=False)  # fmt: skip
