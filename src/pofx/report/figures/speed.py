"""Sample quality against sampling speed, with the Pareto front: who is beaten in both by nobody."""

from collections.abc import Mapping

from matplotlib import rc_context
from matplotlib.figure import Figure

from pofx.report.figures.style import GREY, STYLE, empty, label, log, svg
from pofx.report.rows import Number


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names that no other point beats in both speed (higher) and distance (lower), from the fastest to the slowest."""
    kept, best = [], float("inf")
    for name in sorted(points, key=lambda n: (-points[n][0], points[n][1])):
        if points[name][1] < best:
            best = points[name][1]
            kept.append(name)
    return kept


def speed(points: Mapping[str, tuple[Number, Number]], floor: Number | None, ink: Mapping[str, str], title: str) -> str:
    """Samples per second (log) against quality; the dashed line is real test data, the steps are the front."""
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.9), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        rates, values = [f.value for f, _ in points.values()], [q.value for _, q in points.values() if q.value > 0]
        log(axes.xaxis, rates)
        room = max(2.0, (max(rates) / min(rates)) ** 0.18)
        axes.set_xlim(min(rates) / room, max(rates) * room)
        if values and max(values) / min(values) > 8:
            axes.set_yscale("log")
            log(axes.yaxis, values)
        at = {name: (fast.value, quality.value) for name, (fast, quality) in points.items()}
        best = front(at)
        if len(best) > 1:
            axes.plot(*zip(*(at[n] for n in best), strict=True), color=GREY, linewidth=1.2, alpha=0.7,
                      drawstyle="steps-post", zorder=1)  # fmt: skip
        for name, (fast, quality) in points.items():
            axes.errorbar(fast.value, quality.value, yerr=1.96 * (quality.stderr or 0.0), fmt="o", color=ink[name],
                          markersize=8, elinewidth=1.5, markerfacecolor=ink[name] if name in best else "none",
                          markeredgewidth=1.6)  # fmt: skip
        if floor is not None and floor.value > 0:
            axes.axhline(floor.value, color=GREY, linestyle=(0, (4, 3)), linewidth=1.2)
            axes.annotate("real test data", (0.01, floor.value), (0, 4), xycoords=("axes fraction", "data"),
                          textcoords="offset points", color=GREY, fontsize=8.5)  # fmt: skip
        axes.set_xlabel("samples per second  (faster →)")
        axes.set_ylabel(f"{title}  (better ↓)")
        axes.margins(y=0.15)
        empty(axes)
        bars = [
            ((f.value, q.value - 1.96 * (q.stderr or 0.0)), (f.value, q.value + 1.96 * (q.stderr or 0.0)))
            for f, q in points.values()
        ]
        label(figure, axes, at, ink, bars)
        return svg(figure, "speed")
