"""The page: results.json and the arrays beside it → one self-contained report.html, and its table as report.csv."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pofx.core.files import write_bytes
from pofx.core.options import checked
from pofx.report.columns import frame
from pofx.report.results import Results
from pofx.report.rows import read
from pofx.report.section import fill, sections


@checked
def write(path: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a results.json beside it, or to `out`; the main table goes beside it as .csv.

    Raises:
        CorruptError: the file is missing, damaged or of another schema.
    """
    source = Path(path)
    results = Results(read(source), source.parent)
    target = Path(out) if out is not None else source.with_name("report.html")
    for place, text in ((target, page(results)), (target.with_suffix(".csv"), sheet(results))):
        write_bytes(place, text.encode())
    return target


def sheet(results: Results) -> str:
    """The main table as CSV: values, their standard errors and kinds."""
    return str(frame(results.rows, results.metrics).to_csv())


def render(results: Mapping[str, Any], folder: Path) -> str:
    """The page as text; `folder` holds the files that the results name."""
    return page(Results(results, folder))


def page(results: Results) -> str:
    """The sections that have something to show, in their order, under one header."""
    found = [(section, section.html(results)) for section in sections()]
    return fill("page.html.j2", results, sections=[(section, html) for section, html in found if html])
