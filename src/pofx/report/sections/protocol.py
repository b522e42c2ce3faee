"""Everything that defines the numbers: data, splits, budget, seeds, reference, spaces, versions."""

from pofx.report.metrics import Info
from pofx.report.numbers import plain
from pofx.report.results import Results
from pofx.report.section import Section, fill


class Protocol(Section):
    order, id, title = 180, "protocol", "Protocol"

    def html(self, results: Results) -> str | None:
        axes = [i for i in results.metrics.values() if i.axis and any(r.number(i.name) for r in results.rows)]
        first: Info | None = min(axes, key=lambda info: info.axis.order if info.axis else 9, default=None)
        return fill("sections/protocol.html.j2", results, primary=first, plain=plain)
