"""Values with their 95 % intervals, one panel per measure: which models are separable at a glance."""

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from pofx.report.figures.style import STYLE, empty, svg, wide_range
from pofx.report.rows import Number


def intervals(
    panels: Sequence[tuple[str, str, Mapping[str, Number]]], names: Sequence[str], ink: Mapping[str, str]
) -> str:
    """Values with 95 % intervals: one panel per (title, direction, numbers), one line per name."""
    with rc_context(STYLE):
        wide = len(panels)
        figure = Figure(figsize=(1.5 + 2.0 * wide, 0.6 + 0.27 * len(names)), layout="constrained")
        grid = figure.subplots(1, wide, sharey=True, squeeze=False)[0]
        place = {name: -i for i, name in enumerate(names)}
        for axes, (title, arrow, numbers) in zip(grid, panels, strict=True):
            for name, number in numbers.items():
                half = 1.96 * (number.stderr or 0.0)
                hollow = number.kind == "bound"
                axes.errorbar(number.value, place[name], xerr=half, fmt="o", color=ink[name], markersize=5,
                              capsize=0, markerfacecolor="none" if hollow else ink[name], elinewidth=1.8)  # fmt: skip
            axes.set_title(f"{title} {arrow}".strip(), loc="left")
            axes.set_yticks(list(place.values()), list(place))
            axes.set_ylim(-len(names) + 0.4, 0.6)
            axes.margins(x=0.12)
            axes.locator_params(axis="x", nbins=4)
            wide_range(axes, [n.value for n in numbers.values()])
            empty(axes)
        return svg(figure, "intervals")
