"""Fréchet distance against 1/n of every ranked row and of the real test items, and its intercept."""

import numpy as np

from pofx.report.figures.extrapolation import Line, extrapolation
from pofx.report.numbers import plain
from pofx.report.results import Results
from pofx.report.section import Section, fill


class Extrapolation(Section):
    order, id, title, short = 70, "extrapolation", "Fréchet distance at infinitely many items", "FD at infinity"

    def html(self, results: Results) -> str | None:
        name, lines = extrapolated(results)
        if not lines:
            return None
        at_n = {row.name: number for row in results.rows if (number := row.number(name)) is not None}
        return fill(
            "sections/extrapolation.html.j2",
            results,
            svg=extrapolation(lines, "real-test", results.ink),
            lines=lines,
            at_n=at_n,
            plain=plain,
            below=[name for name, line in lines.items() if line.intercept < 0],
        )


def extrapolated(results: Results) -> tuple[str, dict[str, Line]]:
    """The measure that states points, and by row their mean over the seeds, in the primary space."""
    for name in results.metrics:
        lines = {}
        for row in results.rows:
            if not row.ranked and row.name != "real-test":
                continue
            space = next(iter(row.numbers.get(name, {})), "")
            found = [
                m["extra"]
                for run in row.runs
                for m in run.get("measurements") or ()
                if m["metric"] == name and str(m.get("space") or "") == space and run["status"] == "done"
            ]
            points = [e["points"] for e in found if isinstance((e or {}).get("points"), list)]
            if not points or len({len(p) for p in points}) > 1:
                continue
            mean = np.mean(np.array(points, float), 0)
            if np.isfinite(mean).all():
                own = [e for e in found if e.get("points")]
                slope, intercept = (float(np.mean([e[k] for e in own])) for k in ("slope", "infinity"))
                lines[row.name] = Line(tuple((float(u), float(v)) for u, v in mean), intercept, slope)
        if lines:
            return name, lines
    return "", {}
