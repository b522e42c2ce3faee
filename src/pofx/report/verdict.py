"""The verdict: who can be told apart from whom, axis by axis, and what to use for which need.

Every pair of rows is held against each other by a two-sided test on the difference of their numbers, whose errors
hold the luck of training where there were several (`luck`); the p-values of an axis are adjusted together (Holm, 1979),
and rows that no test separates from the leader share its place. Densities of unlike kinds are never on one axis. "No
separable winner" is an answer; a single score is not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pofx.report.rows import Number, Row
from pofx.report.seed_variance import errors, p_value

ALPHA = 0.05
TIMING = 0.10  # what a speed measured once is good to, as a share of it
COPIES = 0.01  # below this near-copy p-value a row is said to copy its training data


@dataclass(frozen=True)
class Axis:
    """A question with one answer per row; `resolution` is the least standard error, as a share of the value, and
    `chance` the value that nothing can be better than (an AUC of 0.5)."""

    key: str
    title: str
    metric: str
    unit: str = ""
    resolution: float = 0.0
    kind: str = ""
    chance: float | None = None


AXES = (
    Axis("quality", "Sample quality", "frechet_distance", "Fréchet distance"),
    Axis("coverage", "Diversity", "coverage", "coverage of real data"),
    Axis("detect", "Hard to detect", "c2st", "two-sample AUC", chance=0.5),
    Axis("sampling", "Sampling speed", "samples_per_second", "samples/s", TIMING),
    Axis("scoring", "Scoring speed", "log_probs_per_second", "log_prob/s", TIMING),
)


@dataclass(frozen=True)
class Standing:
    """An axis decided: rows in order, the ranks each may hold, and the leaders that no test tells apart."""

    axis: Axis
    order: tuple[str, ...]
    ranks: Mapping[str, tuple[int, int]]
    leaders: tuple[str, ...]
    numbers: Mapping[str, Number]
    beats: frozenset[tuple[str, str]] = frozenset()  # pairs that are separable, the better one first

    @property
    def winner(self) -> str | None:
        return self.leaders[0] if len(self.leaders) == 1 and len(self.order) > 1 else None

    @property
    def groups(self) -> list[list[str]]:
        """The order cut into ties: each group holds its first row and all that no test separates from it."""
        left, cut = list(self.order), []
        while left:
            group = [name for name in left if (left[0], name) not in self.beats]
            left = [name for name in left if name not in group]
            cut.append(group)
        return cut


@dataclass(frozen=True)
class Advice:
    """What to use for a need, and why; `names` is empty when nothing measured here serves it."""

    need: str
    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Verdict:
    headline: str
    standings: tuple[Standing, ...]
    advice: tuple[Advice, ...]
    warnings: tuple[str, ...] = field(default=())


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: the family-wise error of all tests together stays at its level."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, running = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = running
    return adjusted


def difference(a: Number, b: Number) -> float:
    """Two-sided p-value of equal values; 1 where a standard error is unknown and nothing can be claimed."""
    found = errors({"a": a, "b": b})
    return p_value(a.value - b.value, found["a"], found["b"])


def stand(axis: Axis, numbers: Mapping[str, Number]) -> Standing:
    """Decide an axis."""
    better = next(iter(numbers.values())).better
    if axis.chance is not None:
        numbers = {name: replace(n, value=max(n.value, axis.chance)) for name, n in numbers.items()}
    order = sorted(numbers, key=lambda name: numbers[name].value, reverse=better == "higher")
    pairs = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]  # a stands before b
    error = errors(numbers, axis.resolution)
    p = holm([p_value(numbers[a].value - numbers[b].value, error[a], error[b]) for a, b in pairs])
    beats = {pair for pair, value in zip(pairs, p, strict=True) if value < ALPHA}
    ranks = {
        name: (1 + sum((other, name) in beats for other in order), len(order) - sum((name, o) in beats for o in order))
        for name in order
    }
    leaders = tuple(n for n in order if (order[0], n) not in beats)
    return Standing(axis, tuple(order), ranks, leaders, dict(numbers), frozenset(beats))


def _standings(rows: Sequence[Row]) -> list[Standing]:
    found = []
    for axis in AXES:
        numbers = {row.name: n for row in rows if row.ranked and (n := row.number(axis.metric)) is not None}
        if len({n.space for n in numbers.values()}) == 1 and len(numbers) > 1:
            found.append(stand(axis, numbers))
        if axis.key == "detect":
            found += densities(rows)
    return found


def densities(rows: Sequence[Row]) -> list[Standing]:
    """One standing per kind, space and unit of density: unlike kinds are never ranked."""
    alike: dict[tuple[str, str], dict[str, Number]] = {}
    for row in rows:
        number = row.number("bits_per_dim") if row.ranked else None
        if number is not None and number.kind in ("exact", "bound", "estimate"):
            alike.setdefault((number.kind, number.space), {})[row.name] = number
    titles = {"exact": "Likelihood, exact", "bound": "Likelihood, bounds", "estimate": "Likelihood, estimates"}
    kinds = list(titles)
    return [
        stand(Axis(f"density-{kind}", titles[kind], "bits_per_dim", "bits/dim", kind=kind), numbers)
        for (kind, _), numbers in sorted(alike.items(), key=lambda item: kinds.index(item[0][0]))
    ]


def copies(row: Row) -> bool:
    """Whether the near-copy test finds training data among the samples."""
    number = row.number("near_copy")
    return number is not None and number.value < COPIES


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _advice(rows: Sequence[Row], standings: Sequence[Standing]) -> list[Advice]:
    by_name = {row.name: row for row in rows}
    stood = {s.axis.key: s for s in standings}
    given: list[Advice] = []

    def put(need: str, names: Sequence[str], reason: str) -> None:
        given.append(Advice(need, tuple(names), reason))

    def leaders(key: str, need: str, what: str, shown: Callable[[Number], str]) -> None:
        standing = stood.get(key)
        if standing is None:
            return
        honest = [n for n in standing.leaders if not copies(by_name[n])]
        left_out = [n for n in standing.leaders if n not in honest]
        reason = f"{what} {shown(standing.numbers[standing.order[0]])}"
        reason += "" if standing.winner else f"; no test tells the {len(standing.leaders)} leaders apart"
        reason += f"; {listed(left_out)} left out for near-copies" if left_out else ""
        put(need, honest, reason)

    leaders("quality", "samples most like the data", "smallest Fréchet distance,", lambda n: f"{n.value:.3g}")
    leaders("coverage", "nothing in the data left out", "highest coverage,", lambda n: f"{n.value:.2f}")
    exact = stood.get("density-exact") or next((s for k, s in stood.items() if k.startswith("density-")), None)
    if exact is not None:
        names = exact.leaders if exact.axis.kind == "exact" else exact.order[:1]
        best = exact.numbers[exact.order[0]]
        tie = f"; no test tells the {len(names)} leaders apart" if len(names) > 1 else ""
        below = _below(exact, stood.get("density-bound"))
        put(
            "probabilities to rely on",
            names,
            f"{best.value:.3g} bits/dim, {exact.axis.kind}, on held-out data{tie}{below}",
        )
    else:
        single = [r for r in rows if r.ranked and (n := r.number("bits_per_dim")) and n.kind == "exact"]
        put("probabilities to rely on", [r.name for r in single], "the only exact density here" if single else "none")
    fast, quality = stood.get("sampling"), stood.get("quality")
    if fast is not None and quality is not None:
        good = [n for n in fast.order if n in quality.leaders and not copies(by_name[n])]
        if good:
            speed = fast.numbers[good[0]].value
            put("good samples, fast", good[:1], f"{speed:,.0f} samples/s, fastest of the leaders in sample quality")
    coders = [r.name for r in rows if r.ranked and r.traits.get("encodes")]
    if coders:
        order = [n for n in (quality.order if quality else ()) if n in coders] or coders
        why = "encodes, and " + ("has the smallest Fréchet distance of those that do" if len(coders) > 1 else "only it")
        put("codes of items", order[:1], why.replace(", and only it", "; no other model here does"))
    return given


def _below(exact: Standing, bounds: Standing | None) -> str:
    """A word on an upper bound that lies below the exact number: no ranking, but a reader must know."""
    if bounds is None or exact.axis.kind != "exact":
        return ""
    name = bounds.order[0]
    a, b = bounds.numbers[name], exact.numbers[exact.order[0]]
    low = a.value < b.value and difference(a, b) < ALPHA
    return f"; yet {name}'s number, {a.value:.3g}, is lower, and an upper bound" if low else ""


def decide(rows: Sequence[Row]) -> Verdict:
    """The verdict of a comparison."""
    standings = _standings(rows)
    sentences, warnings = [], []
    for standing in standings:
        if standing.axis.key not in ("quality", "coverage") and not standing.axis.kind:
            continue
        title = standing.axis.title
        if len(standing.order) == 1:
            sentences.append(f"{title}: {standing.order[0]} alone.")
        elif standing.winner:
            sentences.append(f"{title}: {standing.winner} leads.")
        else:
            sentences.append(f"{title}: no separable winner ({listed(standing.leaders)}).")
    for row in rows:
        if row.ranked and copies(row):
            warnings.append(
                f"{row.name} returns near-copies of training items (p = {row.numbers['near_copy'][''].value:.2g}): "
                "it is not recommended."
            )
        if row.status in ("failed", "partly"):
            warnings.append(f"{row.name} failed{' in part' if row.status == 'partly' else ''}: {row.reason}")
    quality = next((s for s in standings if s.axis.key == "quality"), None)
    real = next((n for row in rows if row.name == "real-test" and (n := row.number("frechet_distance"))), None)
    if quality and real:
        over = [n for n, m in quality.numbers.items() if m.value < real.value and difference(m, real) < ALPHA]
        if over:
            warnings.append(
                f"{listed(over)}: nearer to the reference than real held-out data, which may be a sign of overfitting."
            )
    baseline = next((row.name for row in rows if row.name == "gmm"), None)
    if quality and baseline in quality.order:
        below = [n for n in quality.order if quality.ranks[n][0] > quality.ranks[baseline][1] and n != baseline]
        if below:
            warnings.append(f"{listed(below)}: separably worse in Fréchet distance than the classical {baseline}.")
    if max((len([r for r in row.runs if r["status"] == "done"]) for row in rows if row.ranked), default=0) < 2:
        warnings.append(
            "One training seed per model: the intervals cover the sampling and the test set, not the luck of training."
        )
    headline = " ".join(sentences) or "Nothing can be told apart here."
    return Verdict(headline, tuple(standings), tuple(_advice(rows, standings)), tuple(warnings))
