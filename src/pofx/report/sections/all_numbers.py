"""Every measurement in every feature space, with its note."""

from pofx.report.numbers import plain
from pofx.report.origin import origin
from pofx.report.results import Results
from pofx.report.section import Section, fill


class AllNumbers(Section):
    order, id, title = 210, "all", "All numbers"

    def html(self, results: Results) -> str | None:
        measurements = [
            (row, metric, number, origin(row, metric, number, results.protocol))
            for row in results.rows
            for metric, by in row.numbers.items()
            for number in by.values()
        ]
        return fill("sections/all_numbers.html.j2", results, measurements=measurements, plain=plain)
