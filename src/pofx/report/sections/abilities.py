"""The capabilities of each model, and the kind of its density on this data."""

from pofx.report.results import Results
from pofx.report.rows import SYMBOLS
from pofx.report.section import Section, fill


class Abilities(Section):
    order, id, title, short = 170, "abilities", "Capabilities of each model", "Abilities"

    def html(self, results: Results) -> str | None:
        kinds = {}
        for row in results.models:
            numbers = [row.number(name) for name, info in results.metrics.items() if info.axis]
            kinds[row.name] = next((n.kind for n in numbers if n is not None and n.kind), "")
        return fill("sections/abilities.html.j2", results, kinds=kinds, symbols=SYMBOLS)
