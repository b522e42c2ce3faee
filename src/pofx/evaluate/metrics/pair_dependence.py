"""Dependence of pairs of columns of any types: normalised mutual information, of generated against real rows.

Averages of pair errors are ruled by the many pairs that do not depend on each other, on which independent columns are
perfect (they read .996 on the usual "shape"); here each pair counts by how much its real columns depend on each other.
Numbers are cut at their deciles; NMI = I / min(H, H) (TabPC, 2026, arXiv 2603.23016, judges tables by it).
"""

from itertools import combinations
from typing import ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float

from pofx.core.representation import Items
from pofx.data.dated import in_days
from pofx.data.kind import Kind, kind_of
from pofx.data.kinds.table import numeric
from pofx.evaluate.metric import ItemMetric, Reading, ScoreInfo

MOST, CUTS = 20_000, 10  # rows, and intervals of a number
COLUMNS = 60  # at most, drawn with the seed


def dependences(frames: list[pd.DataFrame], reference: pd.DataFrame) -> list[Float[np.ndarray, "d d"]]:
    """NMI of every pair of columns of each table: (d, d), 0 on the diagonal."""
    *frames, reference = in_days([*frames, reference], reference)
    cut = [_classes(frame, reference) for frame in frames]
    d = reference.shape[1]
    found = []
    for classes in cut:
        nmi = np.zeros((d, d))
        for i, j in combinations(range(d), 2):
            nmi[i, j] = nmi[j, i] = _nmi(classes[:, i], classes[:, j])
        found.append(nmi)
    return found


def pair_error(samples: pd.DataFrame, real: pd.DataFrame) -> tuple[float, dict[str, float]]:
    """The mean |NMI - NMI of real rows|, pairs weighted by their real NMI, relative to that; and it by pair."""
    a, b = dependences([samples.head(MOST), real.head(MOST)], real)
    upper = np.triu_indices(len(b), 1)
    total = float(b[upper].sum())
    error = float(np.abs(a - b)[upper] @ b[upper]) / max(float(np.square(b[upper]).sum()), 1e-12) if total else 0.0
    columns = list(map(str, real.columns))
    names = [f"{columns[i]}, {columns[j]}" for i, j in zip(*upper, strict=True)]
    return error, dict(zip(names, np.abs(a - b)[upper].tolist(), strict=True))


def _classes(frame: pd.DataFrame, reference: pd.DataFrame) -> np.ndarray:
    columns = []
    for name in reference.columns:
        known, column = reference[name], frame[name]
        if numeric(known):
            x = known.to_numpy(np.float64, na_value=np.nan)
            inner = np.linspace(0, 1, CUTS + 1)[1:-1]
            edges = np.zeros(0) if np.isnan(x).all() else np.unique(np.nanquantile(x, inner))
            z = column.to_numpy(np.float64, na_value=np.nan)
            columns.append(np.where(np.isnan(z), CUTS + 1, np.searchsorted(edges, z, side="right")))
        else:
            often = known.astype(str).value_counts().index[: 5 * CUTS]
            number = {word: k for k, word in enumerate(often)}
            columns.append(column.astype(str).map(number).fillna(len(number)).to_numpy(np.int64))
    return np.stack(columns, 1).astype(np.int64)


def _nmi(a: np.ndarray, b: np.ndarray) -> float:
    """Mutual information over the smaller entropy, less what independent columns of so many rows would read."""
    k, m, n = int(a.max()) + 1, int(b.max()) + 1, len(a)
    joint = np.bincount(a * m + b, minlength=k * m).reshape(k, m) / n
    p, q = joint.sum(1), joint.sum(0)
    entropies = [-float((x[x > 0] * np.log(x[x > 0])).sum()) for x in (p, q, joint.ravel())]
    bias = ((p > 0).sum() - 1) * ((q > 0).sum() - 1) / (2 * n)  # Miller, 1955
    least = min(entropies[:2])
    return 0.0 if least < 1e-9 else max(entropies[0] + entropies[1] - entropies[2] - bias, 0.0) / least


class PairDependence(ItemMetric):
    """`pair_dependence`: the relative error of normalised mutual information, pairs weighted by it."""

    scores: ClassVar = {
        "pair_dependence": ScoreInfo(
            "lower",
            "Pair dependence error",
            "relative error of the mutual information of pairs of columns, weighted by it; independent columns: 1",
            "columns",
            headline=True,
            short="Pair dep. error",
        ),
    }
    source: ClassVar = "TabPC, 2026, arXiv 2603.23016"

    @classmethod
    def takes(cls, kind: Kind) -> bool:
        return kind.columnar

    def read(self, samples: Items, real: Items, train: Items, seed: int = 0) -> Reading:
        frames = [kind_of(items).columns(items.values) for items in (samples, real, train)]
        a, b, c = (frame for frame in frames if frame is not None)
        chosen = np.random.default_rng(seed).permutation(b.shape[1])[:COLUMNS]
        a, b, c = (frame[b.columns[np.sort(chosen)]] for frame in (a, b, c))
        if b.shape[1] < 2 or len(a) < 20:
            return Reading({})
        value, of = pair_error(a, b)
        if not any(value for value in dependences([b], b)[0].ravel()):
            return Reading({})
        worst = dict(sorted(of.items(), key=lambda item: -item[1])[:20])
        control = c.iloc[np.random.default_rng(seed).permutation(len(c))[: len(a)]]
        return Reading(
            {"pair_dependence": value}, {"pair_dependence": {"of": worst, "train": pair_error(control, b)[0]}}
        )
