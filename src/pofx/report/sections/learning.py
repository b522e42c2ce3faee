"""Quality against training time, of every seed that has a history, the failed ones too."""

from pofx.report.figures.learning import curves
from pofx.report.results import Results
from pofx.report.section import Section, fill

LABEL = "Training and validation loss against seconds, one panel per model, one line per seed"
CAPTION = (
    "Dots: the number on validation data that selects the weights, one line per seed; the ring is the best, whose "
    "weights are used. Faint line: training losses of the first seed, summed. Scales differ from panel to panel, "
    "for losses of different families are different quantities. Values above the panel are cut."
)


class Learning(Section):
    order, id, title, short = 150, "learning", "Quality against training time", "Learning"

    def html(self, results: Results) -> str | None:
        histories = {row.name: [run["history"] for run in row.runs if run.get("history")] for row in results.rows}
        histories = {name: runs for name, runs in histories.items() if runs}
        if not histories:
            return None
        return fill("figure.html.j2", results, svg=curves(histories, results.ink), label=LABEL, caption=CAPTION)
