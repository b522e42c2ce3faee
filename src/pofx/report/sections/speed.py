"""Sample quality against sampling speed, with the Pareto front."""

from collections.abc import Iterable

from pofx.report.figures.speed import speed
from pofx.report.metrics import Info
from pofx.report.results import Results
from pofx.report.section import Section, fill

CAPTION = (
    "Lower and further right is better. Filled points are on the Pareto front (the steps): no other model is both "
    "faster and nearer to the data. The dashed line is the value of real test data: the floor of the measure."
)


class Speed(Section):
    order, id, title, short = 130, "speed", "Quality against speed", "Speed"

    def html(self, results: Results) -> str | None:
        axes = [info for info in results.metrics.values() if info.axis]
        distances = [i for i in axes if i.axis and i.axis.need and i.axis.chance is None and i.better == "lower"]
        quality, fast = _first(distances), _first(i for i in axes if i.writes == "speed")
        if quality is None or fast is None:
            return None
        points = {}
        for row in results.ranked:
            x, y = row.number(fast.name), row.number(quality.name)
            if x is not None and y is not None and x.value > 0 and not y.kind:
                points[row.name] = (x, y)
        if not points:
            return None
        title = quality.axis.unit if quality.axis else quality.title
        svg = speed(points, results.real(quality.name), results.ink, title)
        label = f"{title} against samples per second, one point per model, with the Pareto front"
        return fill("figure.html.j2", results, svg=svg, label=label, caption=CAPTION, width=820)


def _first(found: Iterable[Info]) -> Info | None:
    return min(found, key=lambda info: info.axis.order if info.axis else 9, default=None)
