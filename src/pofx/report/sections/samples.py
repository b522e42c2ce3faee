"""The first samples of every model beside the real items."""

from pofx.report.cards import cards
from pofx.report.results import Results
from pofx.report.section import Section, fill


class Samples(Section):
    order, id, title = 80, "samples", "Samples"

    def html(self, results: Results) -> str | None:
        found = cards(results)
        return fill("sections/samples.html.j2", results, samples=found) if found else None
