"""Training health: what models logged of their own training beside the losses, and the warnings that it gave."""

from typing import Any

from pofx.report.figures.health import panels
from pofx.report.results import Results
from pofx.report.section import Section, fill


class Health(Section):
    order, id, title, short = 155, "health", "Training health", "Health"

    def html(self, results: Results) -> str | None:
        models = health(results)
        return fill("sections/health.html.j2", results, models=models) if models else None


def health(results: Results) -> list[dict[str, Any]]:
    """Every model that logged series or warned: its figure, and its warnings with the seeds that gave them."""
    found = []
    for row in results.models:
        histories = [run["history"] for run in row.runs if run.get("history")]
        said: dict[str, list[int]] = {}
        for run in row.runs:
            for sentence in (run.get("training") or {}).get("warnings") or ():
                said.setdefault(str(sentence), []).append(run.get("seed", 0))
        figure = panels(histories, results.ink[row.name], row.name) if histories else ""
        if figure or said:
            seeds = len(row.runs)
            warnings = [(text, sorted(of) if seeds > 1 else []) for text, of in said.items()]
            found.append({"name": row.name, "colour": results.ink[row.name], "svg": figure, "warnings": warnings})
    return found
