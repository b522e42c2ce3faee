"""The verdict: which models a test separates, axis by axis, and what to use for which need.

Rows that no test separates from the leader share its place (`standing`). "No separable winner" is an answer, given with
the reason and what would separate the leaders; a single score is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pofx.report.metrics import Info
from pofx.report.numbers import plain
from pofx.report.recommend import Advice, outdone, recommend
from pofx.report.rows import Row, copies
from pofx.report.self_test import Sight
from pofx.report.standing import ALPHA, Standing, difference, standings

FEW = 500  # test items below which more would help
SEEDS = 3  # trainings from which their variance is known to some degree


@dataclass(frozen=True)
class Verdict:
    """The answer in words: a headline, axes, recommendations, warnings, and what would make more separable."""

    headline: str
    standings: tuple[Standing, ...]
    advice: tuple[Advice, ...]
    warnings: tuple[str, ...] = field(default=())
    next: tuple[str, ...] = field(default=())


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def decide(
    rows: Sequence[Row],
    metrics: Mapping[str, Info],
    sights: Mapping[str, Sight] | None = None,
    results: Mapping[str, Any] | None = None,
) -> Verdict:
    """The verdict of a comparison.

    Args:
        sights: by measure the planted faults that it sees: of the measures for one need the one that sees most decides.
        results: the content of results.json, for the number of test items and seeds.
    """
    found = standings(rows, metrics)
    real = next((row for row in rows if row.name == "real-test"), None)
    copiers = {row.name for row in rows if row.ranked and copies(row, metrics, real)}
    warnings = [
        f"{row.name} returns near-copies of training items (p = {plain(row.least_p(metrics), 2)}): it is not "
        "recommended."
        for row in rows
        if row.name in copiers
    ]
    for row in rows:
        if row.status in ("failed", "partly"):
            warnings.append(f"{row.name} failed{' in part' if row.status == 'partly' else ''}: {row.reason}")
    leading = [s for s in found if not outdone(s, found, sights or {})]
    warnings += _suspicious(rows, leading, real)
    advice = recommend(rows, found, sights or {}, copiers)
    unclear = _next(rows, leading, results)
    return Verdict(_headline(leading), tuple(found), tuple(advice), tuple(warnings), tuple(unclear))


def _headline(found: Sequence[Standing]) -> str:
    """A sentence per axis that a need depends on."""
    sentences = []
    for standing in found:
        title = standing.axis.title
        if not standing.axis.need:
            continue
        if len(standing.order) == 1:
            sentences.append(f"{title}: only {standing.order[0]} has a number, which nothing can be compared with.")
        elif standing.winner:
            sentences.append(f"{title}: {standing.winner} leads.")
        else:
            sentences.append(f"{title}: no separable winner ({listed(standing.leaders)}).")
    return " ".join(sentences) or "Nothing can be distinguished here."


def _suspicious(rows: Sequence[Row], found: Sequence[Standing], real: Row | None) -> list[str]:
    """Models nearer to the reference than real held-out items, and those below a classical baseline, by axis."""
    said: list[str] = []
    baselines = [row.name for row in rows if row.role == "baseline" or row.traits.get("baseline")]
    first = next((s for s in found if s.axis.need and not s.axis.kind), None)
    if first is None:
        return said
    floor = real.number(first.axis.metric) if real else None
    if floor is not None:
        sign = -1 if floor.better == "higher" else 1
        over = [
            n for n, m in first.numbers.items() if sign * (m.value - floor.value) < 0 and difference(m, floor) < ALPHA
        ]
        if over:
            said.append(
                f"{listed(over)}: nearer to the reference than real held-out data, which may be a sign of overfitting."
            )
    for baseline in (name for name in baselines if name in first.order):
        below = [n for n in first.order if first.ranks[n][0] > first.ranks[baseline][1] and n not in baselines]
        if below:
            said.append(f"{listed(below)}: separably worse in {first.axis.unit} than the classical {baseline}.")
    return said


def _next(rows: Sequence[Row], found: Sequence[Standing], results: Mapping[str, Any] | None) -> list[str]:
    """Why leaders are not separated, and what would separate them."""
    seeds = max((len([r for r in row.runs if r["status"] == "done"]) for row in rows if row.ranked), default=0)
    test = ((results or {}).get("data") or {}).get("sizes", {}).get("test")
    tied = [s for s in found if s.axis.need and len(s.leaders) > 1]
    counts = [f"{test:,} test items"] if test else []
    counts.append(f"{seeds} training seed{'s' if seeds != 1 else ''} per model")
    said = []
    if seeds < 2 and any(row.ranked for row in rows):
        said.append("The intervals cover the samples and the test items, not the variance between trainings.")
    if tied:
        said.append(f"{' and '.join(counts)} do not separate the leaders in {listed([s.axis.title for s in tied])}.")
    if seeds and seeds < SEEDS:
        said.append(f"Run the same command with --seeds {SEEDS}: it trains only what is missing.")
    elif tied and test and test < FEW:
        said.append("More test items would narrow the intervals: give more data.")
    return said
