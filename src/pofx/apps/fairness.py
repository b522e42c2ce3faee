"""Fairness: whom a trained density serves badly, group by group.

A model of a mixed population can be good on average and poor for a minority. For every group of a column: the mean
log-probability of its held-out rows, the share of generated rows that it gets against its share of the data, coverage
and precision within the group (Naeem et al., 2020, arXiv 2002.09797), and how well a classifier that learns from
generated rows predicts its real rows (TSTR), each with a 95 % interval from half-samples or rows. The mend is
reweighting, not another model: `fit(…, balance="column")`, or draws conditioned on the group.
"""

import shlex
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from pofx.core.errors import Unsupported, UsageError
from pofx.core.options import Seed, checked
from pofx.core.printed import aligned, show
from pofx.data.columns import framed
from pofx.declared import Against, Device, File, Run
from pofx.declared import Seed as SeedOption

PUBLIC = ("fairness_report",)
GROUP = "Uses"
EXAMPLE = "pofx fairness runs/people-circuit-0 --group sex"

LEAST = 20  # held-out items of a group below which nothing is stated of it
MOST = 800  # items of a group that are compared
SCORED = 200  # items of a group whose log p is taken where each costs many evaluations
DRAWN = 6000  # items that are drawn where none are given
NEAREST = 5
COMPONENTS = 50  # of pictures
REPEATS = 20  # half-samples behind an interval
COLUMNS = 4  # groups up to which they are columns
CLEAR = 0.1  # of the best group's number, the least difference that is named


@checked
def fairness_report(
    run: Any, data: Any, group: str, *, target: str | None = None, samples: Any = None, seed: Seed = 0
) -> pd.DataFrame:
    """A row per group with its numbers, and `±` beside them the half-width of their 95 % interval.

    Args:
        run: a run, or its folder.
        data: that it was trained on, or what `fit` takes; None reads it again.
        group: a column of the table or of the condition, or "label"; numbers of many values are cut into quarters.
        target: the column to be predicted for TSTR; by default none.
        samples: Items drawn before, or rows, with the columns or labels of the data.

    Raises:
        Unsupported: generated items whose group cannot be found.
    """
    from pofx.artifact import run_of
    from pofx.core.items import Items
    from pofx.data.weights import LABEL, banded, check_groups, groups_of
    from pofx.evaluate.conditions import drawn as drawn_given
    from pofx.evaluate.provenance import held_out_by, trained_on

    run = run_of(run)
    data = held_out_by(run, trained_on(run, data))
    held = data.test
    if samples is not None and not isinstance(samples, Items):
        samples = Items(held.kind, samples, facts=held.facts)
    known = groups_of(data.train, group)

    def named(groups: np.ndarray) -> np.ndarray:
        return groups if group == LABEL else banded(groups, known)

    seen, real_groups = named(known), named(groups_of(held, group))
    check_groups(seen, group, "group")
    drawn = drawn_given(run, data.train, DRAWN, seed=seed) if samples is None else samples
    made_groups = named(_groups_of_drawn(drawn, group, data, real_groups))
    real, made = _vectors(data.train, held), _vectors(data.train, drawn)
    names, counts = np.unique(real_groups.astype(str), return_counts=True)
    seen = seen.astype(str)
    log_p = _log_p(run, held, real_groups, seed)
    learned = None if target is None else _predictions(drawn.values, held.values, data.train.values, target, seed)
    rows = []
    for name, count in sorted(zip(names, counts, strict=True), key=lambda item: -item[1]):
        if count < LEAST:
            rows.append({"group": name, "items": int(count)})
            continue
        own, new = real_groups.astype(str) == name, made_groups.astype(str) == name
        row: dict[str, Any] = {"group": name, "items": int(count), "share": float((seen == name).mean())}
        row["drawn"] = float(new.mean())
        row["drawn ±"] = 1.96 * float(np.sqrt(row["drawn"] * (1 - row["drawn"]) / len(new)))
        if log_p is not None:
            known = log_p[own & ~np.isnan(log_p)]
            value = known[np.isfinite(known)]
            row["log p"], row["log p ±"] = float(value.mean()), 1.96 * float(value.std(ddof=1) / np.sqrt(len(value)))
            row["impossible"] = float((~np.isfinite(known)).mean())
        if new.sum() >= LEAST:
            row |= _overlap(made[new][:MOST], real[own][:MOST], seed)
        else:
            row |= {"precision": np.nan, "coverage": 0.0}
        if learned is not None:
            right = learned[own]
            row["TSTR"], row["TSTR ±"] = float(right.mean()), 1.96 * float(right.std() / np.sqrt(len(right)))
        rows.append(row)
    return pd.DataFrame(rows).set_index("group")


def _log_p(run: Any, held: Any, groups: np.ndarray, seed: int) -> np.ndarray | None:
    """log p of held-out items, NaN for those that are left out: estimates cost many evaluations each."""
    from pofx.core.model import Density
    from pofx.data.kind import take

    at = np.arange(len(held))
    if run.density < Density.EXACT:
        order, named = np.random.default_rng(seed).permutation(len(held)), groups.astype(str)
        at = np.sort(np.concatenate([order[named[order] == name][:SCORED] for name in np.unique(named)]))
    found = np.full(len(held), np.nan)
    try:
        found[at] = np.nan_to_num(np.asarray(run.log_prob(take(held, at))), nan=-np.inf, neginf=-np.inf)
    except Unsupported:
        return None
    return found


def _groups_of_drawn(drawn: Any, group: str, data: Any, known: np.ndarray) -> np.ndarray:
    from pofx.data.weights import groups_of

    try:
        return groups_of(drawn, group)
    except UsageError:
        if group != "label" or data.train.labels is None:
            raise
    from sklearn.neighbors import KNeighborsClassifier

    x, y = _vectors(data.train, data.train), np.asarray(groups_of(data.train, group)).astype(str)
    some = np.random.default_rng(0).permutation(len(x))[:5000]
    return np.asarray(KNeighborsClassifier(NEAREST).fit(x[some], y[some]).predict(_vectors(data.train, drawn)))


def _vectors(train: Any, items: Any) -> np.ndarray:
    """Items as numbers in the standard deviations of the training items; pictures as their principal components.

    Between noisy pictures pixels are all about as far apart: no draw of a picture would cover any.
    """
    from pofx.data.kind import kind_of

    kind = kind_of(train)
    frame = kind.columns(items.values)
    if frame is not None:
        from pofx.apps.synthetic_quality import vectors

        return vectors([frame], kind.columns(train.values))[0]  # type: ignore[arg-type]
    flat, known = (np.asarray(of.values, np.float64).reshape(len(of.values), -1) for of in (items, train))
    if flat.shape[1] <= COMPONENTS:
        return flat / max(float(np.abs(known).max()), 1e-12)
    from sklearn.decomposition import PCA

    some = np.random.default_rng(0).permutation(len(known))[:5000]
    return np.asarray(PCA(min(COMPONENTS, len(some)), random_state=0).fit(known[some]).transform(flat))


def _overlap(made: np.ndarray, real: np.ndarray, seed: int) -> dict[str, float]:
    """Precision and coverage in a group, with intervals from half-samples."""
    from scipy.spatial.distance import cdist
    from sklearn.neighbors import NearestNeighbors

    n = min(len(made), len(real))
    g = np.random.default_rng(seed)
    k = min(NEAREST, n // 2 - 1)

    def both(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
        radius = NearestNeighbors(n_neighbors=k + 1).fit(b).kneighbors(b)[0][:, -1]
        apart = cdist(a, b)
        return float((apart <= radius).any(1).mean()), float((apart.min(0) <= radius).mean())

    a, b = made[g.permutation(len(made))[:n]], real[g.permutation(len(real))[:n]]
    value = both(a, b)
    halves = []
    for _ in range(REPEATS):
        some = [side[g.permutation(n)[: n // 2]] for side in (a, b)]
        halves.append(both(*some))
    spread = 1.96 * np.std(halves, 0, ddof=1) / 2**0.5
    return {
        "precision": value[0],
        "precision ±": float(spread[0]),
        "coverage": value[1],
        "coverage ±": float(spread[1]),
    }


def _predictions(made: Any, held: Any, train: Any, target: str, seed: int) -> np.ndarray:
    """What each held-out row adds to the accuracy or R² of trees that learn from generated rows."""
    from pofx.evaluate.metrics.usefulness import merits, predicted

    frame = framed(made)
    if frame is None or target not in frame.columns:
        raise UsageError(f"target must be a column of the table (got '{target}'): leave it out for other items")
    (learn, test), classes, words = predicted([frame, held], train, target)
    return np.asarray(merits(learn, test, classes, words, seed))


def badly_served(table: pd.DataFrame) -> list[str]:
    """Sentences on the groups that are clearly below the others."""
    found = []
    for column, words in (("coverage", "are covered"), ("TSTR", "are predicted"), ("log p", "are expected")):
        if column not in table or table[column].notna().sum() < 2:
            continue
        values, errors = _plain(table, column), _plain(table, f"{column} ±")
        best = max(values, key=values.__getitem__)
        for name, value in values.items():
            gap = values[best] - value
            error = float(np.hypot(errors.get(name, 0.0), errors.get(best, 0.0)))
            if gap > error and gap > CLEAR * max(abs(values[best]), 1e-9):
                less = f"{column} {value:.3f}, {gap:.3f} less"
                found.append(f"{name}: its items {words} less than those of {best} ({less})")
    drawn, errors, shares = (_plain(table, column) for column in ("drawn", "drawn ±", "share"))
    for name, value in drawn.items():
        if value + errors[name] < 0.8 * shares[name]:
            found.append(f"{name}: drawn in {value:.1%} of the items, of which it is {shares[name]:.1%}")
    return found


def _plain(table: pd.DataFrame, column: str) -> dict[str, float]:
    """The numbers of a column that there are, by group."""
    if column not in table:
        return {}
    return {str(name): float(value) for name, value in table[column].dropna().items()}


def beside(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers with their intervals as text; few groups are columns, so that all fit on a screen."""
    found = pd.DataFrame({"items": table["items"].map("{:,}".format)})
    for column in table.columns:
        if column != "items" and not column.endswith(" ±"):
            errors = table.get(f"{column} ±", pd.Series(np.nan, index=table.index))
            found[column] = [
                "" if np.isnan(v) else f"{v:.3f}" if np.isnan(e) else f"{v:.3f} ± {e:.3f}"
                for v, e in zip(table[column], errors, strict=True)
            ]
    return found.T if len(found) <= COLUMNS else found


def fairness(
    run: Run,
    group: Annotated[str, typer.Option(help="A column of groups, or `label`.")],
    target: Annotated[str | None, typer.Option(help="A column to be predicted (TSTR by group).")] = None,
    against: Against = None,
    out: Annotated[Path | None, typer.Option(help="The numbers as a .csv file."), File(".csv")] = None,
    seed: SeedOption = 0,
    device: Device = "auto",
) -> str | None:
    """Measure a run group by group: likelihood, share, coverage, precision, usefulness, with intervals."""
    from pofx.artifact import load
    from pofx.data.arrays import write_frame
    from pofx.evaluate.provenance import check_same_data, trained_on

    artifact = load(run).to(device)
    data = trained_on(artifact, against)
    check_same_data(artifact, data, forcible=False)
    table = fairness_report(artifact, data, group, target=target, seed=seed)
    show(aligned(beside(table), None))
    measured = int((table["items"] >= LEAST).sum())
    if measured >= 2:
        for sentence in badly_served(table) or ["no group is clearly served worse than the others"]:
            show(sentence)
    if measured < len(table):
        few = len(table) - measured
        show(f"{few} of {len(table)} groups have fewer than {LEAST} held-out items: not compared")
    if measured < 2:
        show("to compare more groups: pass more data with --against")
    if measured:
        show(f"to mend it: pofx train … --balance {shlex.quote(group)}, and compare these numbers")
    if out is None:
        return None
    write_frame(table, out, index=True)
    return f"{len(table)} groups"
