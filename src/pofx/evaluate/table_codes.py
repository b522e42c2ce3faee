"""Tables of mixed types as numbers for trees: words as the numbers of categories, what is missing as NaN.

Trees split categories as such and have a branch for what is missing: no row is dropped and no column expanded.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from pofx.data.dated import in_days
from pofx.data.kinds.table import numeric

MOST = 200  # categories of a column that trees know; rarer ones are one
KNOWN = 20  # values of a column of a table; of fewer only whether they are there counts: trees need one in every fold


def codes(
    frames: Sequence[pd.DataFrame], reference: pd.DataFrame
) -> tuple[list[Float[np.ndarray, "n d"]], Bool[np.ndarray, "d"]]:
    """Tables with the columns of `reference` as float64 (n, d), and which columns are categories (numbered by it)."""
    *frames, reference = in_days([*frames, reference], reference)
    columns: list[list[np.ndarray]] = [[] for _ in frames]
    words = []
    for name in reference.columns:
        known = reference[name]
        words.append(not numeric(known))
        often = known.dropna().astype(str).value_counts().index[:MOST] if words[-1] else None
        number = {} if often is None else {word: float(k) for k, word in enumerate(sorted(often))}
        for found, frame in zip(columns, frames, strict=True):
            column = frame[name]
            if often is not None:
                x = column.astype(str).map(number).fillna(len(number)).to_numpy(np.float64)
            else:
                x = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
            found.append(np.where(column.isna().to_numpy(), np.nan, x))
        sides = [found[-1] for found in columns]
        if any(np.isfinite(x).sum() < min(KNOWN, len(x) / 2) for x in sides):
            for found in columns:
                found[-1] = (~np.isnan(found[-1])).astype(np.float64)
    return [np.stack(found, 1) for found in columns], np.array(words, bool)


def classes_of(columns: Sequence[pd.Series], reference: pd.Series, most: int = 20) -> list[np.ndarray] | None:
    """A column as class numbers, where it holds words or few numbers; None where it is a number to be predicted.

    Values that the reference does not hold have the number of its nearest value, or of none.
    """
    known = reference.dropna()
    if numeric(reference) and known.nunique() > most:
        return None
    if numeric(reference):
        values = np.sort(known.astype(np.float64).unique())
        filled = [c.astype(np.float64).fillna(values[0]).to_numpy() for c in columns]
        return [np.abs(x[:, None] - values).argmin(1) for x in filled]
    number = {word: k for k, word in enumerate(sorted(known.astype(str).unique()))}
    return [c.astype(str).map(number).fillna(len(number)).to_numpy(np.int64) for c in columns]
