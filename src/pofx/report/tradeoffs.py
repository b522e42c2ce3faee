"""The trade-off table of the literature, filled with what was measured: no family is best at everything.

One row per model; sample quality, diversity, density, training, sampling speed and representation (the corners of the
"generative learning trilemma" of Xiao, Kreis and Vahdat, 2022, arXiv 2112.07804, and three more). A cell leads where no
test separates it from the best; where only one model has a number nothing is compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pofx.report.columns import seconds, short, written
from pofx.report.rows import SYMBOLS, Number, Row
from pofx.report.verdict import TIMING, Axis, Standing, stand


@dataclass(frozen=True)
class Mark:
    """A cell: what was measured, and its place among the groups that can be told apart (0 leads; None: not ranked)."""

    text: str
    place: int | None = None
    of: int = 0
    title: str = ""


@dataclass(frozen=True)
class Need:
    """A column of the table."""

    title: str
    metric: str
    write: Callable[[Number], str]
    resolution: float = 0.0


def _value(number: Number) -> str:
    text, error = written(number.value, number.stderr)
    return text + (f" ± {error}" if error else "")


def _density(number: Number) -> str:
    return f"{SYMBOLS.get(number.kind, '')} {_value(number)}".strip()


def _code(number: Number) -> str:
    beside = number.extra.get("pca")
    return f"{number.value:.0%}" + (f" (PCA {beside:.0%})" if beside is not None else "")


NEEDS = (
    Need("Sample quality (FD)", "frechet_distance", _value),
    Need("Diversity (recall)", "recall", _value),
    Need("Density (bits/dim)", "bits_per_dim", _density),
    Need("Sampling (items/s)", "samples_per_second", lambda n: short(n.value), TIMING),
    Need("Codes (labels read)", "code_linear", _code),
)
TRAINING = "Training"


def tradeoffs(rows: Sequence[Row]) -> tuple[list[str], dict[str, list[Mark]]]:
    """The titles of the columns, and the marks of every ranked row."""
    ranked = [row for row in rows if row.ranked]
    needs = [need for need in NEEDS if any(row.number(need.metric) for row in ranked)]
    marks: dict[str, list[Mark]] = {row.name: [] for row in ranked}
    for need in needs:
        numbers = {row.name: n for row in ranked if (n := row.number(need.metric)) is not None}
        standings = _standings(need, numbers)
        for row in ranked:
            number, standing = numbers.get(row.name), standings.get(row.name)
            marks[row.name].append(_mark(row, need, number, standing))
    for row in ranked:
        marks[row.name].append(_training(row))
    return [*(need.title for need in needs), TRAINING], marks


def _standings(need: Need, numbers: Mapping[str, Number]) -> dict[str, Standing]:
    """By row the standing it takes part in; densities of unlike kinds stand apart."""
    found: dict[str, Standing] = {}
    for kind in {n.kind for n in numbers.values()}:
        alike = {name: n for name, n in numbers.items() if n.kind == kind}
        if len(alike) > 1:
            standing = stand(Axis(need.metric, need.title, need.metric, resolution=need.resolution), alike)
            found |= dict.fromkeys(alike, standing)
    return found


def _mark(row: Row, need: Need, number: Number | None, standing: Standing | None) -> Mark:
    if number is None:
        none = "no density" if need.metric == "bits_per_dim" else "no codes" if need.metric == "code_linear" else "–"
        return Mark(none)
    if standing is None:
        return Mark(need.write(number), title="nothing alike to compare with")
    place = next(i for i, group in enumerate(standing.groups) if row.name in group)
    count = len(standing.groups)
    said = "leads, or is not separable from the leader" if place == 0 else f"group {place + 1} of {count}"
    return Mark(need.write(number), place, count, said)


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
