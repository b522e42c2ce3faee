"""Values of the measures of the verdict with their 95 % intervals, for every model and control."""

from pofx.report.figures.intervals import intervals
from pofx.report.results import Results
from pofx.report.section import Section, fill

LABEL = "Values of the main measures with 95 % intervals for every model and control"
CAPTION = (
    "95 % intervals (± 1.96 s.e.). Hollow points are bounds: do not compare them with filled ones. A horizontal "
    "axis is logarithmic where values span more than a factor of thirty."
)
MOST = 5  # panels


class Intervals(Section):
    order, id, title = 40, "intervals", "Intervals"

    def html(self, results: Results) -> str | None:
        axes = [i for i in results.metrics.values() if i.axis and i.writes == "number"]
        panels = []
        for info in sorted(axes, key=lambda i: i.axis.order if i.axis else 9):
            numbers = {row.name: n for row in results.rows if (n := row.number(info.name)) is not None}
            if any(n.stderr is not None for n in numbers.values()):
                arrow = {"lower": "↓", "higher": "↑"}.get(info.better, "")
                panels.append((info.head, arrow, numbers))
        if not panels:
            return None
        svg = intervals(panels[:MOST], [row.name for row in results.rows if row.numbers], results.ink)
        return fill("figure.html.j2", results, svg=svg, label=LABEL, caption=CAPTION)
