"""The shape of a table's columns and the strength of their pairs, small enough to keep: histograms and one matrix.

Numbers are counted in equal bins between the training items' 0.5 % and 99.5 % quantiles (the end bins take the rest),
so that the histograms of two sets share their bins. Pairs: Spearman's rank correlation of two numbers, the
correlation ratio of the ranks of a number by a category, Cramér's V of two categories (Cramér, 1946, section 21.9).
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata

from pofx.data.kinds.table import numeric

COLUMNS = 12  # the first ones; more would not be read
BINS = 24
CATEGORIES = 10  # the most frequent; the rest are counted together


def shapes(table: pd.DataFrame, known: pd.DataFrame) -> dict[str, Any]:
    """{"columns": [{"name", "edges" or "categories", "shares"}], "pairs": matrix} of rows, in bins of known ones."""
    columns: list[dict[str, Any]] = []
    for name in known.columns[:COLUMNS]:
        if numeric(known[name]):
            edges = _edges(known[name].to_numpy(float))
            found = table[name].to_numpy(float)
            inside = np.clip(found[np.isfinite(found)], edges[0], edges[-1])
            shares = np.histogram(inside, edges)[0] / max(len(inside), 1)
            columns.append({"name": str(name), "edges": _short(edges), "shares": _short(shares)})
        else:
            often = known[name].astype(str).value_counts().index[:CATEGORIES].tolist()
            counted = table[name].astype(str).value_counts(normalize=True)
            listed = [float(counted.get(c, 0.0)) for c in often]
            if known[name].nunique() > CATEGORIES or sum(listed) < 1 - 1e-9:
                often, listed = [*often, "other"], [*listed, 1 - sum(listed)]
            columns.append({"name": str(name), "categories": often, "shares": _short(np.array(listed))})
    some = table[[*known.columns[:COLUMNS]]]
    return {"columns": columns, "pairs": [_short(row) for row in pairs(some)]}


def pairs(table: pd.DataFrame) -> Float[np.ndarray, "d d"]:
    """The strength of every pair of columns: in [-1, 1] for two numbers, in [0, 1] otherwise; 0 for a constant."""
    d = table.shape[1]
    out = np.eye(d)
    for i in range(d):
        for j in range(i):
            a, b = table.iloc[:, i], table.iloc[:, j]
            there = (a.notna() & b.notna()).to_numpy()
            out[i, j] = out[j, i] = _pair(a[there], b[there]) if there.sum() > 2 else 0.0
    return out


def _pair(a: pd.Series, b: pd.Series) -> float:
    if numeric(a) and numeric(b):
        x, y = rankdata(a.to_numpy(float)), rankdata(b.to_numpy(float))
        return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) and np.ptp(y) else 0.0
    if numeric(a) or numeric(b):
        number, category = (a, b) if numeric(a) else (b, a)
        ranks = pd.Series(rankdata(number.to_numpy(float)))
        means = ranks.groupby(category.astype(str).to_numpy()).transform("mean")
        whole = float(ranks.var(ddof=0))
        return float(np.sqrt(means.var(ddof=0) / whole)) if whole > 0 else 0.0
    counts = pd.crosstab(a.astype(str), b.astype(str)).to_numpy(float)
    least = min(counts.shape) - 1
    if least < 1:
        return 0.0
    expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
    chi = float(((counts - expected) ** 2 / expected).sum())
    return float(np.sqrt(min(chi / counts.sum() / least, 1.0)))


def _edges(x: np.ndarray) -> np.ndarray:
    x = x[np.isfinite(x)]
    low, high = np.quantile(x, (0.005, 0.995)) if len(x) else (0.0, 1.0)
    whole = np.unique(x)
    if len(whole) <= BINS and np.allclose(whole, np.round(whole)):  # a bar for each of a few whole numbers
        return np.arange(whole[0] - 0.5, whole[-1] + 1) if len(whole) and np.ptp(whole) <= 2 * BINS else whole
    bins = int(np.clip(np.sqrt(len(x)) / 1.5, 8, BINS))
    return np.linspace(low, high if high > low else low + 1, bins + 1)


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{v:.5g}") for v in values]
