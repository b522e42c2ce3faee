"""The columns of a table one by one, and the strength of their pairs."""

import numpy as np

from pofx.report.figures.column_shapes import differences, marginals
from pofx.report.results import Results
from pofx.report.section import Section, fill


class Columns(Section):
    order, id, title, short = 100, "columns", "Columns and their pairs", "Columns"

    def html(self, results: Results) -> str | None:
        shapes, pairs = shape_plots(results)
        return fill("sections/columns.html.j2", results, shapes=shapes, pairs=pairs) if shapes else None


def shape_plots(results: Results) -> tuple[str, str]:
    """Marginals, and differences of the pairs; empty for data without columns."""
    real = (results.stored_real or {}).get("shapes")
    if not isinstance(real, dict) or not real.get("columns"):
        return "", ""
    found = {row.name: results.stored(row, "samples") for row in results.models}
    own = {name: of["shapes"] for name, of in found.items() if of and isinstance(of.get("shapes"), dict)}
    if not own:
        return "", ""
    names = [column["name"] for column in real["columns"]]
    matrices = {name: np.array(of["pairs"], float) for name, of in own.items() if len(of["pairs"]) == len(names)}
    first = marginals(real["columns"], {name: of["columns"] for name, of in own.items()}, results.ink)
    if len(names) < 2 or not matrices:
        return first, ""
    return first, differences(names, np.array(real["pairs"], float), matrices, results.ink)
