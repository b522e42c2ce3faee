"""The trade-offs of this comparison: no family is best at everything.

One row per model, one column per axis of the measures (the corners of the "generative learning trilemma" of Xiao,
Kreis and Vahdat, 2022, arXiv 2112.07804, and more), and training. A cell leads where no test separates it from the
best; where only one model has a number nothing is compared.
"""

from dataclasses import dataclass

from pofx.report.metrics import Info
from pofx.report.numbers import seconds, write
from pofx.report.results import Results
from pofx.report.rows import SYMBOLS, Number, Row
from pofx.report.section import Section, fill
from pofx.report.standing import Standing

TRAINING = "Training"


@dataclass(frozen=True)
class Mark:
    """A cell: what was measured, and its place among the groups that are separable (0 leads; None: not ranked)."""

    text: str
    place: int | None = None
    title: str = ""


class TradeOffs(Section):
    order, id, title, short = 30, "tradeoffs", "Trade-offs on this data", "Trade-offs"

    def html(self, results: Results) -> str | None:
        titles, marks = tradeoffs(results)
        return fill("sections/tradeoffs.html.j2", results, titles=titles, marks=marks) if marks else None


def tradeoffs(results: Results) -> tuple[list[str], dict[str, list[Mark]]]:
    """The titles of the columns, and the marks of every ranked row."""
    ranked = results.ranked
    infos = [i for i in results.metrics.values() if i.axis and any(row.number(i.name) for row in ranked)]
    infos = sorted(infos, key=lambda info: info.axis.order if info.axis else 9)
    places = {(name, s.axis.metric): s for s in results.verdict.standings for name in s.order}
    marks = {
        row.name: [*(_mark(row, i, row.number(i.name), places.get((row.name, i.name))) for i in infos), _training(row)]
        for row in ranked
    }
    return [*(f"{i.axis.title} ({i.head})" for i in infos if i.axis), TRAINING], marks


def _mark(row: Row, info: Info, number: Number | None, standing: Standing | None) -> Mark:
    if number is None:
        return Mark("–", title="not measured, or the model cannot")
    value, error = write(info.writes, number.value, number.stderr)
    text = f"{SYMBOLS.get(number.kind, '')} {value}".strip() if number.kind else value
    text += f" ± {error}" if error else ""
    if standing is None or len(standing.order) == 1:
        return Mark(text, title="nothing alike to compare with")
    place = next(i for i, group in enumerate(standing.groups) if row.name in group)
    of = f"group {place + 1} of {len(standing.groups)}"
    return Mark(text, place, "leads, or is not separable from the leader" if place == 0 else of)


def _training(row: Row) -> Mark:
    """Seeds that ended well, and the time after which validation was within 2 % of its best."""
    done = [run for run in row.runs if run.get("status") == "done"]
    text = f"{len(done)}/{len(row.runs)} runs" if len(row.runs) > 1 else ""
    points = [p for run in done[:1] for p in run.get("history", ()) if "validation" in p]
    if len(points) > 2:
        values = [p["validation"] for p in points]
        least, span = min(values), max(values) - min(values)
        reached = next(p["seconds"] for p in points if p["validation"] <= least + 0.02 * span)
        text += f"{', ' if text else ''}98 % learned after {seconds(reached)}"
    return Mark(text or "done")
