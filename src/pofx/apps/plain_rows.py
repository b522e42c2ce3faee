"""Rows of any content as finite numbers in robust units: what neighbours and mixtures of normals can be learned from.

Words become indicators of their groups, gaps and new words are flagged, dates are seconds, and no value is farther away
than `FARTHEST` units: one sentinel must not set the scale. Words never seen are as frequent as those seen once (Good,
1953).
"""

from typing import Any

import numpy as np
import pandas as pd

from pofx.data.columns import framed
from pofx.data.dated import Dated
from pofx.data.dates import format_of, instants

FARTHEST = 50.0  # units from which on a value is no farther away
WORDS, RARE = 30, 0.0025  # of a column with an indicator of their own, at most; share below which others are rare
CATEGORIES = 200  # words of a column that trees distinguish, at most
MISSING = "\x00"


class Plain:
    """Rows of any content as finite numbers in robust units: words as indicators, gaps and new words flagged."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.usual: dict[Any, Any] = {}
        self.numbers: dict[Any, tuple[float, float, float]] = {}
        self.words: dict[Any, dict[Any, int]] = {}  # the group of each word that is known
        self.shares: dict[Any, list[float]] = {}  # of the groups
        self.dates: dict[Any, str | None] = {}
        self.seldom: dict[Any, float] = {}
        for column in frame.columns:
            values = self._dated(frame[column], column, True)
            if pd.api.types.is_numeric_dtype(values):
                x = values.to_numpy(np.float64, na_value=np.nan)
                x = np.where(np.isfinite(x), x, np.nan)
                known = x[~np.isnan(x)] if not np.isnan(x).all() else np.zeros(1)
                known = within(known)
                scale = float(known.std())
                mean = float(known.mean())
                scale = scale if scale > 1e-9 * (1 + abs(mean)) else 1e-2 * (1 + abs(mean))
                self.numbers[column] = (mean, scale, float(np.isnan(x).mean()))
                at = int(np.argmin(np.abs(np.nan_to_num(x, nan=np.inf) - np.median(known))))
                self.usual[column] = float(np.median(known)) if column not in self.dates else frame[column].iloc[at]
            else:
                counts = worded(values).value_counts()
                once = counts == 1  # as frequent among new rows as words that were never seen (Good, 1953)
                self.seldom[column] = float(once.sum() / len(values))
                self.words[column], self.shares[column] = grouped(counts[~once] / len(values))
                self.usual[column] = counts.index[0]

    def _dated(self, values: pd.Series, column: Any, learn: bool = False) -> pd.Series:
        """Dates as seconds, other values as they are."""
        if learn:
            form = None
            dated = values.dtype.kind in "mM"
            if not dated and not pd.api.types.is_numeric_dtype(values.dtype) and values.notna().any():
                form = format_of(values.dropna())
            if not dated and form is None:
                return values
            self.dates[column] = form
        if column not in self.dates:
            return values
        moments, unit = instants(values, self.dates[column], "us")
        return pd.Series(np.where(moments == np.iinfo(np.int64).min, np.nan, moments / 1e6), index=values.index)

    def __call__(self, frame: pd.DataFrame) -> np.ndarray:
        columns: list[np.ndarray] = []
        for column, (mean, scale, gaps) in self.numbers.items():
            x = self._dated(frame[column], column).to_numpy(np.float64, na_value=np.nan)
            missing = np.isnan(x)
            with np.errstate(over="ignore"):
                z = np.where(missing, 0.0, (np.nan_to_num(x, nan=mean) - mean) / scale)
            columns.append(np.clip(z, -FARTHEST, FARTHEST))
            if missing.any() or gaps:
                columns.append((missing - gaps) / max((gaps * (1 - gaps)) ** 0.5, 0.05))
            else:
                columns.append(np.zeros(len(z)))
        for column, groups in self.words.items():
            of = worded(frame[column]).map(groups).fillna(-1).to_numpy(np.int64)
            shares = {**dict(enumerate(self.shares[column])), -1: self.seldom[column]}
            for k, share in shares.items():
                spread = max(share * (1 - share), 0.0025) ** 0.5
                columns.append(((of == k) - share) / (spread * (2**0.5 if k >= 0 else 1.0)))
        return np.stack(columns, 1)


def worded(values: pd.Series) -> pd.Series:
    """A column as words, those that are missing too."""
    return values.astype(object).map(str).astype(object).where(values.notna(), MISSING)


def grouped(shares: pd.Series) -> tuple[dict[Any, int], list[float]]:
    """Words by group, and the share of each group: frequent words by themselves, others with those as rare.

    In a column of a thousand words that are as frequent as each other none is odd.
    """
    group: dict[Any, int] = {}
    total: list[float] = []
    often = shares[shares >= 1 / WORDS]
    for k, (word, share) in enumerate(often.items()):
        group[word] = k
        total.append(float(share))
    for low, high in ((RARE, 1 / WORDS), (0.0, RARE)):
        pool = shares[(shares >= low) & (shares < high)]
        if len(pool):
            group |= dict.fromkeys(pool.index, len(total))
            total.append(float(pool.sum()))
    return group, total


def within(x: np.ndarray) -> np.ndarray:
    """Values, those beyond `FARTHEST` robust standard deviations moved to there: a sentinel must not set the scale."""
    low, middle, high = np.quantile(x, (0.25, 0.5, 0.75))
    reach = FARTHEST * (high - low) / 1.349
    return np.clip(x, middle - reach, middle + reach) if reach > 0 else np.clip(x, -1e150, 1e150)


def learnable(rows: Any, known: Any) -> Any:
    """Rows as trees take them: dates as numbers, words as categories, the most frequent ones of the known rows, and
    pictures as rows of their values."""
    if framed(rows) is None:
        return np.asarray(rows, np.float64).reshape(len(rows), -1)
    dated = Dated(known)
    rows, known, found = dated.forward(rows), dated.forward(known), {}
    for c in known.columns:
        column = rows[c]
        if pd.api.types.is_numeric_dtype(known[c].dtype):
            found[str(c)] = column.to_numpy(np.float64, na_value=np.nan)
        elif known[c].dtype.kind == "m":
            found[str(c)] = pd.to_timedelta(column).dt.total_seconds().to_numpy(np.float64)
        elif pd.api.types.is_datetime64_any_dtype(known[c].dtype):
            found[str(c)] = column.astype("datetime64[us]").astype("int64").where(column.notna()).to_numpy(np.float64)
        else:
            words = known[c].dropna().astype(str).value_counts().index[:CATEGORIES]
            found[str(c)] = pd.Categorical(column.astype(object).where(column.isna(), column.astype(str)), words)
    return pd.DataFrame(found)
