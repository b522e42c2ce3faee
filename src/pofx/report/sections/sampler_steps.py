"""Quality against the steps of a sampler, of the first seed of every model that has them."""

from pofx.report.figures.sampler_steps import efforts
from pofx.report.results import Results
from pofx.report.section import Section, fill

LABEL = "Fréchet distance against the steps of the sampler, and against seconds per 1,000 samples, one line per model"
CAPTION = (
    "The same trained model sampled with fewer and more steps; the ring is its own number, used for all other "
    "measurements. Where a line has become level further steps are wasted; where it still falls at the ring the "
    "model should use more. Distances are in the space of principal components, with fewer samples than in the "
    "table: compare along a line."
)


class Steps(Section):
    order, id, title, short = 140, "effort", "Quality against steps", "Steps"

    def html(self, results: Results) -> str | None:
        steps = [info.name for info in results.metrics.values() if info.group == "sampling"]
        found = {
            row.name: number.extra
            for row in results.rows
            for name in steps
            if (number := row.number(name)) is not None and number.extra.get("curve")
        }
        if not found:
            return None
        return fill("figure.html.j2", results, svg=efforts(found, results.ink), label=LABEL, caption=CAPTION, width=960)
