"""Supports as a user states them: where values can lie at all, for every column alike or column by column.

"positive", "unit" (0 to 1), "real", a pair (low, high) with None for no end, a dict of these by column, or "simplex":
the columns are positive and each row sums to 1. Nothing is inferred from data: that all values lie above zero
proves nothing about those to come.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError, unknown

SIMPLEX = "simplex"
NAMED: dict[str, tuple[float | None, float | None]] = {
    "positive": (0.0, None),
    "unit": (0.0, 1.0),
    "real": (None, None),
}
ROUNDING = 3e-7  # of decimal fractions to float32, relative
SUM_TOLERANCE = 1e-4  # of the rows of a simplex, for values that were written down in float32


def stated(support: Any, columns: Sequence[str]) -> Any:
    """A support in plain form: None, "simplex", or {column: [low, high]} with None for no end.

    Raises:
        UsageError: an unknown name or column, or a pair that is not an interval.
    """
    if support is None:
        return None
    if isinstance(support, str) and support == SIMPLEX:
        if len(columns) < 2:
            raise UsageError("a simplex has at least 2 columns, whose rows sum to 1 (got 1): leave support out")
        return SIMPLEX
    if not isinstance(support, Mapping):
        support = dict.fromkeys(columns, support)
    plain: dict[str, list[float | None]] = {}
    for column, one in support.items():
        if str(column) not in columns:
            raise unknown("column in support", str(column), columns)
        low, high = _interval(one, str(column))
        if low is not None or high is not None:
            plain[str(column)] = [low, high]
    return plain or None


def _interval(one: Any, column: str) -> tuple[float | None, float | None]:
    if isinstance(one, str):
        if one not in NAMED:
            raise unknown(f"support of {column}", one, [*NAMED, "[low, high]", SIMPLEX])
        return NAMED[one]
    try:
        low, high = (None if v is None or math.isinf(v) else float(v) for v in one)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the support of {column} must be a pair or one of {', '.join(NAMED)} (got {one!r}): "
            "pass (low, high), with None for no end"
        ) from error
    if low is not None and high is not None and not low < high:
        raise UsageError(f"the support of {column} must be an interval (got {low:g} to {high:g}): pass (low, high)")
    return low, high


def check_support(values: np.ndarray, columns: Sequence[str], support: Any, closed: np.ndarray) -> None:
    """Refuse values float (n, d) outside a support in plain form; `closed` (d,) is true where its ends belong to it.

    Raises:
        DataError: the first offending value, with its column, row and the support.
    """
    for reason in outside(values, columns, support, closed).values():
        raise DataError(reason)


def outside(values: np.ndarray, columns: Sequence[str], support: Any, closed: np.ndarray) -> dict[int, str]:
    """The rows outside a support, each with its reason."""
    if support == SIMPLEX:
        return _outside_simplex(values, columns)
    reasons: dict[int, str] = {}
    for column, (low, high) in (support or {}).items():
        at = list(columns).index(column)
        x, ends = values[:, at], bool(closed[at])
        bad = np.zeros(len(x), dtype=bool)
        if low is not None:
            bad |= (x < low - ROUNDING * abs(low)) if ends else (x <= low)
        if high is not None:
            bad |= (x > high + ROUNDING * abs(high)) if ends else (x >= high)
        for row in np.flatnonzero(bad).tolist():
            brackets = "[]" if ends else "()"
            limits = f"{'-inf' if low is None else f'{low:g}'}, {'inf' if high is None else f'{high:g}'}"
            edge = not ends and x[row] in (low, high)
            mend = (
                "the ends of a continuous support have no density: widen it, or leave such rows out"
                if edge
                else "widen the support, or leave such rows out"
            )
            reasons.setdefault(
                row,
                f"column {column} is {x[row]:g} in row {row}, outside its support {brackets[0]}{limits}{brackets[1]}: "
                f"{mend}",
            )
    return dict(sorted(reasons.items()))


def _outside_simplex(values: np.ndarray, columns: Sequence[str]) -> dict[int, str]:
    reasons: dict[int, str] = {}
    bad = ~(values > 0)
    for row, at in np.argwhere(bad).tolist():
        reasons.setdefault(
            row,
            f"column {columns[at]} is {values[row, at]:g} in row {row}, outside the open simplex: replace zeros by a "
            "small share and divide each row by its sum",
        )
    sums = values.sum(1)
    for row in np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE).tolist():
        reasons.setdefault(
            row, f"row {row} sums to {sums[row]:g}, not to 1, as in a simplex: divide each row by its sum"
        )
    return dict(sorted(reasons.items()))


def supported(values: np.ndarray, columns: list[str], support: Any) -> dict[str, Any]:
    """The fact of a stated support; whether its ends belong to it is known once grids have been looked for."""
    plain = stated(support, columns)
    if plain is None:
        return {}
    check_support(values, columns, plain, np.ones(len(columns), dtype=bool))
    return {"support": plain}
