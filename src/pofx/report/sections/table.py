"""The main table: every model and control, sortable, filterable, with the origin of each number."""

import base64
from dataclasses import replace

from pofx.report.columns import MORE, Cell, Column, cell, frame, shown
from pofx.report.origin import origin
from pofx.report.results import Results
from pofx.report.rows import SYMBOLS
from pofx.report.section import Section, fill


class Table(Section):
    order, id, title = 20, "table", "Results"

    def html(self, results: Results) -> str | None:
        columns = shown(results.rows, results.metrics)
        csv = str(frame(results.rows, results.metrics).to_csv())
        return fill(
            "sections/table.html.j2",
            results,
            rows=results.rows,
            columns=columns,
            cells=cells(results, columns),
            symbols=SYMBOLS,
            sights=results.sights,
            more=MORE,
            families=list(dict.fromkeys(row.family for row in results.rows if row.family)),
            csv=base64.b64encode(csv.encode()).decode(),
        )


def cells(results: Results, columns: list[Column]) -> dict[str, list[Cell]]:
    """Cells by row name; numbers of the leaders of an axis are marked as best, each with its origin."""
    leading = {
        (name, s.axis.metric) for s in results.verdict.standings if len(s.order) > 1 for name in s.leaders
    }  # fmt: skip
    found: dict[str, list[Cell]] = {}
    for row in results.rows:
        for column in columns:
            number = row.number(column.metric)
            made = cell(column.info, number, (row.name, column.metric) in leading)
            if number is not None:
                made = replace(made, title=origin(row, column.metric, number, results.protocol))
            found.setdefault(row.name, []).append(made)
    return found
