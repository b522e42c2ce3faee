"""How good synthetic rows are, and how near they are to the rows that they were learned from, beside simple floors.

Usefulness: train on synthetic, test on real rows (TSTR) beside real on real (TRTR) and real on synthetic (TRTS);
Esteban et al., 2017, arXiv 1706.02633. Fidelity: column shapes, dependence of pairs, an AUC of boosted trees. Coverage:
the share of real categories and of tenths of the range that occur. Privacy smells: the share of rows closer to a
training row than to a held-out one, as many of both (Platzer and Reutterer, 2021, arXiv 2104.00635), the ratio of the
nearest to the second distance, an attack on membership by distance, and singling out: whether values that are rare
among synthetic rows point at a training row more often than at a held-out one (Giomi et al., 2022, arXiv 2211.10459).
None of them proves privacy; ε does.
"""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from pofx.data.dated import in_days
from pofx.data.kinds.table import numeric
from pofx.evaluate.metrics.closest_record import closest_share
from pofx.evaluate.metrics.marginals import column_shapes
from pofx.evaluate.metrics.membership import attack
from pofx.evaluate.metrics.pair_dependence import pair_error
from pofx.evaluate.metrics.tree_two_sample import tree_auc
from pofx.evaluate.metrics.usefulness import predicted

MOST = 3000  # rows of a side whose distances are computed
RARE = 3  # times that a value occurs among the synthetic rows, at most, to single someone out
WORDS = 30  # indicators of a column of words
LEAST = 20  # held-out rows without which nothing is measured

ROWS = {
    "shapes": ("column shapes", "higher", "1 - distance of each column's distribution, mean"),
    "pairs": ("pair dependence error", "lower", "relative error of the mutual information of pairs; independent: 1"),
    "tstr": ("TSTR", "higher", "trained on these rows, tested on real ones"),
    "trts": ("TRTS", "higher", "trained on real rows, tested on these"),
    "detection": ("detection AUC", "lower", "boosted trees between these and real rows; 0.5: none"),
    "coverage": ("coverage", "higher", "share of real categories and tenths of ranges that occur"),
    "closer": ("closer to training", "none", "share of rows nearer to training than to held-out rows; 0.5: none"),
    "ratio": ("neighbour ratio", "none", "distance to the nearest over the second training row, median; copies: 0"),
    "membership": (
        "membership attack",
        "lower",
        "AUC of nearness to a synthetic row: training or held-out? 0.5: none",
    ),
    "singling": ("singling out", "lower", "excess of rare values that name one training row over one held-out row"),
}


def quality(
    made: pd.DataFrame, train: pd.DataFrame, held: pd.DataFrame, *, target: str | None = None, seed: int = 0
) -> dict[str, float]:
    """The numbers of synthetic rows against training and held-out ones."""
    made, train, held = in_days([frame.reset_index(drop=True) for frame in (made[train.columns], train, held)], train)
    shapes = list(column_shapes(made, held).values())
    found = {"shapes": float(np.mean(shapes)), "coverage": coverage(made, train)}
    if train.shape[1] > 1:
        found["pairs"] = pair_error(made, held)[0]
    found["detection"] = tree_auc(made, held, seed)[0]
    if target is not None and train.shape[1] > 1:
        found["tstr"] = usefulness(made, held, train, target, seed)
        found["trts"] = usefulness(train, made, train, target, seed)
    found |= distances(made, train, held, seed)
    found["singling"] = singling_out(made, train, held)
    return found


def usefulness(learn: pd.DataFrame, test: pd.DataFrame, reference: pd.DataFrame, target: str, seed: int = 0) -> float:
    """The AUC (two classes), accuracy (several) or R² of boosted trees that learn from some rows, on others."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.metrics import r2_score, roc_auc_score

    ((x, y), (z, w)), classes, words = predicted([learn, test], reference, target)
    options: dict[str, Any] = {"categorical_features": np.array(words) if any(words) else None, "random_state": seed}
    with threadpool_limits(1, "openmp"):
        if not classes:
            trees = HistGradientBoostingRegressor(**options).fit(x, y)
            return float(r2_score(w, trees.predict(z)))
        if len(np.unique(y)) < 2 or len(np.unique(w)) < 2:
            return 0.5
        judge = HistGradientBoostingClassifier(**options).fit(x, y)
        if set(np.unique(w)) == {0, 1} and set(judge.classes_) == {0, 1}:
            return float(roc_auc_score(w, judge.predict_proba(z)[:, 1]))
        return float((judge.predict(z) == w).mean())


def measure_of(frame: pd.DataFrame, target: str) -> str:
    """What `usefulness` measures for a column."""
    values = frame[target].dropna().nunique()
    if numeric(frame[target]) and values > 20:
        return "R²"
    return "AUC" if values == 2 else "accuracy"


def coverage(made: pd.DataFrame, train: pd.DataFrame) -> float:
    """The share of categories, or of tenths of the range of numbers, that occur among synthetic rows."""
    shares = []
    for name in train.columns:
        known, new = train[name].dropna(), made[name].dropna()
        if not len(known):
            continue
        if numeric(known):
            edges = np.unique(np.quantile(known.to_numpy(np.float64), np.linspace(0, 1, 11)[1:-1]))
            cells = [set(np.searchsorted(edges, c.to_numpy(np.float64), side="right")) for c in (known, new)]
        else:
            cells = [set(c.astype(str)) for c in (known, new)]
        shares.append(len(cells[0] & cells[1]) / len(cells[0]))
    return float(np.mean(shares))


def vectors(frames: list[pd.DataFrame], train: pd.DataFrame) -> list[np.ndarray]:
    """Rows as numbers between which distances have a meaning: ranks of numbers, indicators of words."""
    columns: list[list[np.ndarray]] = [[] for _ in frames]
    for name in train.columns:
        known = train[name]
        if numeric(known):
            ordered = np.sort(known.dropna().to_numpy(np.float64))
            for found, frame in zip(columns, frames, strict=True):
                x = frame[name].to_numpy(np.float64, na_value=np.nan)
                rank = np.searchsorted(ordered, np.nan_to_num(x)) / max(len(ordered), 1)
                found.append(np.where(np.isnan(x), 0.5, rank)[:, None] * 3.46)  # unit variance
        else:
            often = known.astype(str).value_counts().index[:WORDS]
            for found, frame in zip(columns, frames, strict=True):
                found.append((frame[name].astype(str).to_numpy()[:, None] == often.to_numpy()[None]) / 2**0.5)
    return [np.concatenate(found, 1).astype(np.float64) for found in columns]


def distances(made: pd.DataFrame, train: pd.DataFrame, held: pd.DataFrame, seed: int = 0) -> dict[str, float]:
    """`closer`, `ratio` and `membership`: how near synthetic rows are to training rows, against as many held-out rows,
    and how well nearness to a synthetic row separates both."""
    generator = np.random.default_rng(seed)
    few = [frame.iloc[generator.permutation(len(frame))[:MOST]] for frame in (made, train, held)]
    a, b, c = vectors(few, train)
    near = NearestNeighbors(n_neighbors=min(2, len(b))).fit(b).kneighbors(a)[0]
    ratio = np.median(near[:, 0] / np.maximum(near[:, -1], 1e-12))
    found = {"closer": closest_share(a, c, b, seed)[0], "ratio": float(ratio)}
    if min(len(b), len(c)) >= 2:
        among = NearestNeighbors(n_neighbors=1).fit(a)
        found["membership"] = attack(*(-among.kneighbors(side)[0][:, 0] for side in (b, c))).auc
    return found


def singling_out(made: pd.DataFrame, train: pd.DataFrame, held: pd.DataFrame) -> float:
    """The share of values rare among synthetic rows that exactly one training row has, less that for as many held-out
    rows; 0 where they know nothing of single training rows."""
    n = min(len(train), len(held))
    hits, tries = np.zeros(2), 0
    for name in train.columns:
        if numeric(train[name]) and train[name].nunique() > len(train) // 2:
            continue  # nearly every row has a value of its own
        counts = made[name].dropna().astype(str).value_counts()
        rare = counts.index[counts <= RARE]
        tries += len(rare)
        for k, side in enumerate((train, held)):
            of = side[name].iloc[:n].astype(str).value_counts()
            hits[k] += int((of.reindex(rare).fillna(0) == 1).sum())
    return float((hits[0] - hits[1]) / tries) if tries else 0.0


def report(
    rows: Mapping[str, Mapping[str, float]], about: Mapping[str, Any], columns: Mapping[str, Mapping[str, float]]
) -> str:
    """The numbers as a page: `rows` by name of what made them, `columns` the shape of each column by that name."""
    names = list(rows)
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    lines = []
    for key, (title, better, help) in ROWS.items():
        values = [rows[name].get(key) for name in names]
        if all(value is None for value in values):
            continue
        cells = "".join(f"<td>{'' if v is None else format(v, '.3f')}</td>" for v in values)
        lines.append(f"<tr><th>{title}</th>{cells}<td>{'' if better == 'none' else better}</td><td>{help}</td></tr>")
    first = columns[names[0]]
    bars = "".join(
        f"<tr><th>{html.escape(str(c))}</th><td><meter min=0 max=1 value={v:.3f}></meter></td><td>{v:.3f}</td></tr>"
        for c, v in sorted(first.items(), key=lambda item: item[1])
    )
    facts = "".join(f"<li>{html.escape(str(k))}: {html.escape(str(v))}</li>" for k, v in about.items())
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Synthetic rows</title>
<style>body{{font:16px/1.5 system-ui;margin:2rem auto;max-width:64rem;padding:0 1rem;color:#222}}
table{{border-collapse:collapse;margin:1rem 0}}
td,th{{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:right}}
th:first-child,td:last-child{{text-align:left}}td:last-child{{color:#666;font-size:.9em}}meter{{width:16rem}}</style>
<h1>Synthetic rows</h1><ul>{facts}</ul>
<h2>Quality beside simple floors</h2><table><tr><th></th>{heads}<th>better</th><th></th></tr>{"".join(lines)}</table>
<p>"real" are held-out rows in the place of synthetic ones. Closer to training and the neighbour ratio are smells:
values like those of real rows prove no privacy. These numbers are computed from real rows and not covered by ε.</p>
<h2>Columns of {html.escape(names[0])}, the least alike first</h2><table>{bars}</table></html>"""
