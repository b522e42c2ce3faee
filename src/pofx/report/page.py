"""The page: results.json and the arrays beside it → one self-contained report.html, and its table as report.csv."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2

from pofx.report import plots
from pofx.report.agreement import ranks, taus, words
from pofx.report.budget import TITLES as BUDGET
from pofx.report.budget import budget
from pofx.report.columns import MORE, Cell, Column, cell, frame, shown
from pofx.report.figures.style import colours
from pofx.report.limits import limits
from pofx.report.novelty import TITLES as NOVELTY
from pofx.report.novelty import novelty
from pofx.report.origin import origin
from pofx.report.rows import SYMBOLS, Row, read, rows
from pofx.report.samples import cards
from pofx.report.self_test import sights
from pofx.report.tradeoffs import tradeoffs
from pofx.report.verdict import Verdict, decide

HERE = Path(__file__).parent


def write(path: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a results.json beside it, or to `out`; the main table goes beside it as .csv.

    Raises:
        CorruptError: the file is missing, damaged or of another schema.
    """
    source = Path(path)
    results = read(source)
    target = Path(out) if out is not None else source.with_name("report.html")
    for place, text in ((target, render(results, source.parent)), (target.with_suffix(".csv"), sheet(rows(results)))):
        aside = place.with_name(f".{place.name}.part")
        aside.write_text(text, encoding="utf-8")
        aside.replace(place)
    return target


def sheet(table: Sequence[Row]) -> str:
    """The main table as CSV: values, their standard errors and kinds."""
    return str(frame(table).to_csv())


def render(results: Mapping[str, Any], folder: Path) -> str:
    """The page as text; `folder` holds the files that the results name."""
    table = rows(results)
    verdict = decide(table)
    columns = shown(table, results.get("metrics"))
    ink = colours([(r.name, r.family, r.role) for r in table])
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["inline"] = lambda name: (HERE / name).read_text(encoding="utf-8")
    ranked = ranks(table)
    agreed = taus(ranked)
    lines = plots.extrapolated(table)
    likelihood, gaps = plots.likelihood_plot(table, folder, ink)
    shapes, pairs = plots.shape_plots(results, table, folder, ink)
    return environment.get_template("page.html.j2").render(
        results=results,
        data=results["data"],
        protocol=results["protocol"],
        verdict=verdict,
        rows=table,
        ink=ink,
        symbols=SYMBOLS,
        named=_titles(results, columns),
        columns=columns,
        more=MORE,
        families=list(dict.fromkeys(r.family for r in table if r.family)),
        cells=_cells(table, verdict, columns, results),
        sights=sights(results),
        csv=base64.b64encode(sheet(table).encode()).decode(),
        seen=_seen(results),
        tradeoffs=tradeoffs(table),
        intervals=plots.interval_plot(table, ink),
        ranks=ranked,
        taus=agreed,
        agreement=words(agreed),
        plane=plots.plane_plot(table, ink),
        lines=lines,
        extrapolation=plots.extrapolation_plot(lines, ink),
        likelihood=likelihood,
        gaps=gaps,
        shapes=shapes,
        pairs=pairs,
        speed=plots.speed_plot(table, ink),
        effort=plots.effort_plot(table, ink),
        curves=plots.learning_plot(table, ink),
        samples=cards(results, table, folder, ink),
        novelty=novelty(table),
        novelty_titles=NOVELTY,
        budget=budget(table, results["protocol"]),
        budget_titles=BUDGET,
        limits=limits(results, table),
        measurements=[
            (row, metric, number, origin(row, metric, number, results["protocol"]))
            for row in table
            for metric, by in row.numbers.items()
            for number in by.values()
        ],
    )


def _titles(results: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, str]:
    """How a metric is called."""
    named = {name: about["title"] for name, about in (results.get("metrics") or {}).items()}
    return named | {column.metric: column.title for column in columns}


def _cells(
    table: Sequence[Row], verdict: Verdict, columns: Sequence[Column], results: Mapping[str, Any]
) -> dict[str, list[Cell]]:
    """Cells by row name; numbers of the leaders of an axis are marked as best, each says where it comes from."""
    leading = {(name, s.axis.metric) for s in verdict.standings if len(s.order) > 1 for name in s.leaders}
    found: dict[str, list[Cell]] = {}
    for row in table:
        for column in columns:
            number = row.number(column.metric)
            made = cell(column, number, (row.name, column.metric) in leading)
            if number is not None:
                made = replace(made, title=origin(row, column.metric, number, results["protocol"]))
            found.setdefault(row.name, []).append(made)
    return found


def _seen(results: Mapping[str, Any]) -> dict[str, Any]:
    """The self-test as a table: its faults, and per measure and space whether each is seen, with the numbers."""
    tested = results.get("self_test") or []
    if not tested:
        return {}
    titles = results.get("metrics") or {}
    lines = [
        {
            "title": titles.get(row["metric"], {}).get("title", row["metric"]),
            "space": row["space"],
            "honest": row["honest"],
            "faults": list(row["faults"].values()),
        }
        for row in tested
    ]
    return {"faults": list(tested[0]["faults"]), "lines": lines}
