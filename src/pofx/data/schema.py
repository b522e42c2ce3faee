"""What the columns of a table hold, and the table as numbers: whole numbers, decimals, lattices, categories, dates.

A column is described from all splits together, so that a grid or a category of a test row is no surprise. Grids need
evidence: a tolerance of a few units in the last place of the column's own type, and for fractions values that repeat.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError

FINEST = 4  # decimals of the finest decimal grid that is looked for
REPEATED = 0.1  # share of rows that repeat the value of another, from which a column of reals has atoms
LARGEST, SMALLEST = 1e100, 1e-100  # magnitudes whose squares float64 still holds
EXACT = 2.0**53  # whole numbers up to which float64 is exact
Schema = Mapping[str, Mapping[str, Any]]


def describe(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """A plain description of every column: `type` and what belongs to it.

    Types: constant (value), whole (low, high, offset), decimal (places), lattice (offset, step), real (atoms: whether
    values repeat far more often than those of a continuous column can), bool, category (categories), date (low, high).

    Raises:
        DataError: numbers too large or too close together, whole numbers over too wide a range, or a column of words in
            which nearly every row differs.
    """
    return {str(name): _column(frame[name], str(name)) for name in frame.columns}


def _column(column: pd.Series, name: str) -> dict[str, Any]:
    kind = column.dtype.kind if isinstance(column.dtype, np.dtype) else "O"
    if kind == "b":
        return {"type": "bool"}
    if kind == "M":
        x = column.to_numpy().astype("datetime64[ns]").astype(np.int64)
        step = int(np.gcd.reduce(np.diff(np.unique(x)))) or 1
        return {"type": "date", "offset": int(x.min()), "step": step, "high": int(x.max())}
    if kind == "O":
        words = [_word(v) for v in column.astype(object)]
        often = Counter(words)
        if len(often) > max(20, len(words) // 2):
            raise DataError(
                f"column {name} holds {len(often)} different words in {len(words)} rows: an id or free text, drop it"
            )
        listed = sorted(often, key=lambda w: (-often[w], w is None, str(w)))
        return {"type": "category", "categories": listed}
    if kind in "iu":
        low, high = int(column.min()), int(column.max())
        if high - low >= EXACT:
            raise DataError(
                f"column {name} holds whole numbers from {low} to {high}, a range beyond 2^53 (an id?): drop it"
            )
        if low == high:
            return {"type": "constant", "value": low}
        return {"type": "whole", "low": low, "high": high, "offset": low if max(-low, high) > EXACT else 0}
    return _reals(column.to_numpy(), name)


def _reals(values: np.ndarray, name: str) -> dict[str, Any]:
    eps, x = float(np.finfo(values.dtype).eps), values.astype(np.float64)
    with np.errstate(over="ignore"):
        largest, spread = float(np.abs(x).max()), float(np.ptp(x))
    if spread <= 8 * eps * largest:
        return {"type": "constant", "value": float(np.median(x))}
    if largest > LARGEST or spread < SMALLEST:
        raise DataError(
            f"column {name} has magnitudes that cannot be squared in float64 (largest {largest:.3g}, spread "
            f"{spread:.3g}): change its unit, dividing it by {largest:.0e}"
        )
    if on_grid(x, eps).all():
        return {"type": "whole", "low": float(x.min()), "high": float(x.max()), "offset": 0}
    distinct, counts = np.unique(x, return_counts=True)
    repeated = float(counts[counts > 1].sum()) / len(x)
    chance = len(x) * eps * largest / spread  # of so many values between which the type has no others
    gridded = len(distinct) <= len(x) / 2 or (len(x) >= 20 and repeated > REPEATED + chance)
    if gridded:
        for places in range(1, FINEST + 1):
            if on_grid(x * 10.0**places, eps).all():
                return {"type": "decimal", "places": places}
    if len(x) >= 20 and repeated > REPEATED + chance:
        if len(distinct) <= len(x) / 2:
            lattice = _lattice(distinct, eps)
            if lattice is not None:
                return lattice
        return {"type": "real", "atoms": round(repeated, 3)}
    return {"type": "real"}


def on_grid(x: np.ndarray, eps: float) -> np.ndarray:
    """Where x is whole but for a few units in the last place of its type, where these are small against 1."""
    off = 4 * eps * np.abs(x)
    return np.asarray((np.abs(x - np.round(x)) <= off) & (off < 0.02))


def _lattice(distinct: np.ndarray, eps: float) -> dict[str, Any] | None:
    """The offset and step of evenly spaced values, not all of which need occur."""
    gaps = np.diff(distinct)
    error = 16 * eps * float(np.abs(distinct).max())
    for part in (1, 2, 3):
        step = float(gaps.min()) / part
        if step < 1000 * error:
            return None
        for _ in range(3):  # the estimate of the step gets better with every pass
            k = np.round((distinct - distinct[0]) / step)
            step = float((distinct[-1] - distinct[0]) / k[-1])
        if np.abs(distinct - distinct[0] - k * step).max() <= max(error, 1e-6 * step):
            return {"type": "lattice", "offset": float(distinct[0]), "step": step, "high": float(distinct[-1])}
    return None


def numbers(frame: pd.DataFrame, schema: Schema) -> tuple[np.ndarray, dict[int, str]]:
    """The table as float64 (n, d), in steps of a grid where there is one; and the rows that cannot occur, with reasons.

    Such rows hold a possible value instead.
    """
    columns: list[np.ndarray] = []
    reasons: dict[int, str] = {}
    for name, about in schema.items():
        x, found = _numbers(frame[name], name, about)
        columns.append(x)
        for row, reason in found.items():
            reasons.setdefault(row, reason)
    return np.stack(columns, 1), reasons


def _numbers(column: pd.Series, name: str, about: Mapping[str, Any]) -> tuple[np.ndarray, dict[int, str]]:
    kind = about["type"]
    if kind == "category":
        known = {word: i for i, word in enumerate(about["categories"])}
        words = [_word(v) for v in column.astype(object)]
        bad = {i: f"column {name}: '{w}' was not seen in training" for i, w in enumerate(words) if w not in known}
        return np.array([known.get(w, 0) for w in words], np.float64), bad
    if kind == "bool":
        x = column.to_numpy(dtype=np.float64)
        return _possible(x, (x == 0) | (x == 1), 0.0, name, "is no truth value")
    if kind == "date":
        x = (pd.to_datetime(column).to_numpy().astype("datetime64[ns]").astype(np.int64) - about["offset"]) / about[
            "step"
        ]
        return _possible(x, x == np.round(x), 0.0, name, "is off the grid of the dates in training")
    dtype = column.dtype if isinstance(column.dtype, np.dtype) else np.dtype(np.float64)
    eps = float(np.finfo(dtype.name).eps) if dtype.kind == "f" else 2.0**-52
    if kind == "constant":
        x = column.to_numpy(dtype=np.float64)
        same = np.abs(x - about["value"]) <= max(4 * eps, 2.0**-50) * abs(about["value"])
        reason = f"was always {about['value']:g} in training"
        return _possible(x, same, float(about["value"]), name, reason)
    if kind == "whole" and about["offset"]:
        return (column.to_numpy() - column.to_numpy().dtype.type(about["offset"])).astype(np.float64), {}
    x = column.to_numpy(dtype=np.float64)
    if kind == "real":
        return x, {}
    if kind == "lattice":
        k = (x - about["offset"]) / about["step"]
        near = np.abs(k - np.round(k)) <= np.maximum(1e-4, 32 * eps * np.abs(x) / about["step"])
        return _possible(
            np.where(near, np.round(k), k), near, 0.0, name, f"is off the grid in steps of {about['step']:.6g}"
        )
    k = x * 10.0 ** about.get("places", 0)
    near = on_grid(k, max(eps, 2.0**-52)) | (dtype.kind in "iu")
    held = f"at most {about['places']} decimals" if about.get("places") else "whole numbers"
    return _possible(np.where(near, np.round(k), k), near, np.nan, name, f"held {held} in training")


def _possible(
    x: np.ndarray, good: np.ndarray, instead: float, name: str, reason: str
) -> tuple[np.ndarray, dict[int, str]]:
    bad = np.flatnonzero(~good)
    reasons = {int(i): f"column {name} {reason} (got {x[i]:g})" for i in bad}
    return np.where(good, x, np.round(x) if np.isnan(instead) else instead), reasons


def restored(x: np.ndarray, about: Mapping[str, Any], dtype: str) -> Any:
    """A column of numbers, as of `numbers`, in its own type; samples stay within the range that was seen."""
    kind = about["type"]
    if kind == "category":
        words = about["categories"]
        found = [words[int(k)] for k in np.clip(np.floor(x), 0, len(words) - 1)]
        known: Any = pd.CategoricalDtype(sorted(w for w in words if w is not None))
        plain: Any = pd.Series(found, dtype=object)
        return plain.astype(known if dtype == "category" else dtype)
    if kind == "bool":
        return np.clip(np.floor(x), 0, 1).astype(bool)
    if kind == "constant":
        return np.full(len(x), about["value"]).astype(dtype)
    if kind == "date":
        most = (about["high"] - about["offset"]) // about["step"]
        return (
            (about["offset"] + np.clip(np.floor(x), 0, most).astype(np.int64) * about["step"])
            .astype("datetime64[ns]")
            .astype(dtype)
        )
    if kind == "lattice":
        most = np.round((about["high"] - about["offset"]) / about["step"])
        return (about["offset"] + np.clip(np.floor(x), 0, most) * about["step"]).astype(dtype)
    if kind == "whole":
        low, high = int(about["low"]) - about["offset"], int(about["high"]) - about["offset"]
        k = np.clip(np.floor(x), low, high)
        if about["offset"]:
            return k.astype(dtype) + np.dtype(dtype).type(about["offset"])
        return k.astype(np.int64).astype(dtype) if np.dtype(dtype).kind in "iu" else k.astype(dtype)
    if kind == "decimal":
        return (np.floor(x) / 10.0 ** about["places"]).astype(dtype)
    return x.astype(dtype)


def _word(value: Any) -> Any:
    """A category: a string, or None for what is missing."""
    return None if value is None or value is pd.NaT or value != value else str(value)
