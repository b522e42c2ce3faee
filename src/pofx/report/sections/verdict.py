"""The verdict: which models are separable on which axis, and what to use for which need."""

from pofx.report.results import Results
from pofx.report.section import Section, fill


class OfVerdict(Section):
    order, id, title = 10, "verdict", "Verdict"

    def html(self, results: Results) -> str | None:
        return fill("sections/verdict.html.j2", results, verdict=results.verdict, sights=results.sights)
