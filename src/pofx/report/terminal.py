"""A comparison as text for a terminal: a table of at most so many columns, and the verdict in words."""

import textwrap
from collections.abc import Sequence

from pofx.report.columns import cell
from pofx.report.metrics import Info
from pofx.report.results import Results
from pofx.report.rows import Row

WIDTH = 80


def text(results: Results, width: int = WIDTH) -> str:
    """The table, what to use, and why no more is separable."""
    verdict = results.verdict
    lines = [table(results, width), "", *textwrap.wrap(verdict.headline, width)]
    if verdict.advice:
        lines += ["", "What to use"]
    for advice in verdict.advice:
        said = f"{advice.need}: {', '.join(advice.names) or 'none'} ({advice.reason})"
        lines += textwrap.wrap(said, width, initial_indent="  ", subsequent_indent="      ")
    for warning in verdict.warnings:
        lines += textwrap.wrap(warning, width, initial_indent="! ", subsequent_indent="  ")
    lines += ["", *textwrap.wrap(" ".join(verdict.next), width)] if verdict.next else []
    return "\n".join(lines)


def table(results: Results, width: int = WIDTH) -> str:
    """One line per row: the measures with an axis, then other headlines, as many as fit; failed rows with reasons."""
    rows = [row for row in results.rows if row.numbers]
    there = [i for i in results.metrics.values() if any(row.number(i.name) is not None for row in rows)]
    axes = sorted((i for i in there if i.axis), key=lambda info: info.axis.order if info.axis else 9)
    order = [*axes, *(i for i in there if i.headline and not i.axis)]
    names = ["model", *(row.name for row in results.rows)]
    first = max(map(len, names))
    columns: list[list[str]] = []
    for info in order:
        column = _column(info, rows)
        if first + sum(2 + max(map(len, c)) for c in [*columns, column]) > width:
            continue
        columns.append(column)
    wide = [max(map(len, column)) for column in columns]
    at = {row.name: i + 1 for i, row in enumerate(rows)}

    def line(name: str, i: int) -> str:
        return "  ".join([name.ljust(first), *(c[i].rjust(w) for c, w in zip(columns, wide, strict=True))]).rstrip()

    lines = [line("model", 0)]
    for row in results.rows:
        if row.name in at:
            lines.append(line(row.name, at[row.name]))
        else:
            why = f"{row.name.ljust(first)}  {row.status}: {row.reason or 'not run'}"
            lines += textwrap.wrap(why, width, subsequent_indent=" " * (first + 2))
    return "\n".join(lines)


def _column(info: Info, rows: Sequence[Row]) -> list[str]:
    arrow = {"lower": " ↓", "higher": " ↑"}.get(info.better, "")
    cells = [cell(info, row.number(info.name)) for row in rows]
    return [info.head + arrow, *(c.symbol + c.text + (f" ±{c.error}" if c.error else "") for c in cells)]
