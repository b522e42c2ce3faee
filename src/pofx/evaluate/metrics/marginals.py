"""Marginals and pairs of a table: does every column, and every pair of columns, look like the data's?

`column_shapes` is the mean over columns of 1 - the Kolmogorov-Smirnov distance (numbers) or 1 - the total variation
(categories); `pair_trends` the mean over pairs of 1 - half the difference of rank correlations (numbers) or 1 - the
total variation of the joint table, numbers cut at the data's deciles. Averages hide joint structure of three and more
columns: read them beside the classifier test.
"""

from collections.abc import Callable
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

PAIRS = 200  # at most this many pairs, drawn with the seed


def column_shapes(samples: pd.DataFrame, real: pd.DataFrame) -> dict[str, float]:
    """1 - the distance of each column's distribution, by the column's name."""
    found = {}
    samples, real = in_days([samples, real], real)
    for name in real.columns:
        a, b = samples[name], real[name]
        if numeric(b):
            found[str(name)] = 1 - kolmogorov_smirnov(a.dropna().to_numpy(float), b.dropna().to_numpy(float))
        else:
            p, q = (side.astype(str).value_counts(normalize=True) for side in (a, b))
            found[str(name)] = 1 - float(p.sub(q, fill_value=0).abs().sum() / 2)
    return found


def kolmogorov_smirnov(a: Float[np.ndarray, "n"], b: Float[np.ndarray, "m"]) -> float:
    """The largest difference of two empirical distribution functions."""
    a, b = np.sort(a), np.sort(b)
    at = np.concatenate((a, b))
    apart = np.searchsorted(a, at, side="right") / len(a) - np.searchsorted(b, at, side="right") / len(b)
    return float(np.abs(apart).max())


def pair_trends(samples: pd.DataFrame, real: pd.DataFrame, seed: int = 0) -> dict[str, float]:
    """1 - the distance of each pair's dependence, by the two names."""
    samples, real = in_days([samples, real], real)
    pairs = list(combinations(real.columns, 2))
    if len(pairs) > PAIRS:
        pairs = [pairs[i] for i in np.random.default_rng(seed).permutation(len(pairs))[:PAIRS]]
    of_numbers = [name for name in real.columns if numeric(real[name])]
    ranks = [side[of_numbers].rank().corr().fillna(0).to_numpy(float) for side in (samples, real)]
    at = {name: i for i, name in enumerate(of_numbers)}
    cut = {name: _cut(samples[name], real[name]) for name in real.columns}
    found = {}
    for a, b in pairs:
        if a in of_numbers and b in of_numbers:
            found[f"{a}, {b}"] = 1 - abs(float(ranks[0][at[a], at[b]] - ranks[1][at[a], at[b]])) / 2
        else:
            p, q = ((cut[a][i] + "|" + cut[b][i]).value_counts(normalize=True) for i in range(2))
            found[f"{a}, {b}"] = 1 - float(p.sub(q, fill_value=0).abs().sum() / 2)
    return found


def _cut(a: pd.Series, b: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Two columns as strings; numbers as the decile of the second that they fall in."""
    if not numeric(b):
        return a.astype(str).reset_index(drop=True), b.astype(str).reset_index(drop=True)
    edges = np.unique(np.nanquantile(b.to_numpy(float), np.linspace(0.1, 0.9, 9)))
    first, second = (pd.Series(np.searchsorted(edges, side.to_numpy(float)).astype(str)) for side in (a, b))
    return first, second


class Marginals(ItemMetric):
    """`column_shapes` and `pair_trends`, with every column's and pair's number and what training items read."""

    scores: ClassVar = {
        "column_shapes": ScoreInfo(
            "higher",
            "Column shapes",
            "mean over columns of 1 - distance between the two distributions",
            "columns",
            headline=True,
        ),
        "pair_trends": ScoreInfo(
            "higher",
            "Pair trends",
            "mean over pairs of columns of 1 - distance between the two dependences",
            "columns",
            headline=True,
        ),
    }

    @classmethod
    def takes(cls, kind: Kind) -> bool:
        return kind.columnar

    def read(self, samples: Items, real: Items, train: Items, seed: int = 0) -> Reading:
        a, b, c = (_frame(items) for items in (samples, real, train))
        generator = np.random.default_rng(seed)
        control = c.iloc[generator.permutation(len(c))[: len(a)]]
        values, extra = {}, {}
        for name, of in (("column_shapes", column_shapes), ("pair_trends", pair_trends)):
            found = of(a, b)
            if not found:
                continue
            values[name] = float(np.mean(list(found.values())))
            worst = dict(sorted(found.items(), key=lambda item: item[1])[:50])
            extra[name] = {
                "of": worst,
                "train": float(np.mean(list(of(control, b).values()))),
                "stderr": _error(of, a, b),
            }
        return Reading(values, extra)


def _error(of: Callable[..., dict[str, float]], a: pd.DataFrame, b: pd.DataFrame) -> float:
    """The half-sampling standard error of the mean."""
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(8):
        halves = [side.iloc[generator.permutation(len(side))[: len(side) // 2]] for side in (a, b)]
        drawn.append(np.mean(list(of(*halves).values())))
    return float(np.std(drawn, ddof=1))


def _frame(items: Items) -> pd.DataFrame:
    frame = kind_of(items).columns(items.values)
    assert frame is not None
    return frame
