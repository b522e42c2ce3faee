"""What the columns of a table hold, and the table as numbers: whole numbers, decimals, lattices, categories, dates.

A column is described from all splits together, so that a grid or a category of a test row is no surprise. Grids need
evidence (see `pofx.data.grids`). A missing value is a value of its own: NaN among the numbers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError
from pofx.data.dates import WHOLE, format_of, instants, restored_dates, spans, whole_dates
from pofx.data.grids import grid_of, near_grid, on_grid, single, written_places

LARGEST, SMALLEST = 1e100, 1e-100  # magnitudes whose squares float64 still holds
EXACT = 2.0**53  # whole numbers up to which float64 is exact
GRIDS = ("whole", "decimal", "lattice", "levels", "bool", "category", "date")
STATED = ("number", "real", "category", "bool", "date", "id", "text")  # types that a user may state
LEFT_OUT = ("id", "text")
Schema = Mapping[str, Mapping[str, Any]]


def describe(frame: pd.DataFrame, stated: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """A plain description of every column: `type` and what belongs to it.

    Types: constant (value), whole (low, high, offset), decimal (places; single: in single precision), lattice (offset,
    step, high), levels (values), real (heavy: values that many rows have; atoms: the share of rows that repeat others
    beside these; written: the decimals to which all values were written, to which samples are rounded), bool, category
    (categories, ordered), date (offset, step, high, unit, format; span: of spans of time), and the two that name items:
    id, text. `missing` is true where values are missing.

    Args:
        stated: types by column where the guess is wrong: "number", "real", "category", "bool", "date", "id", "text", or
            the list of ordered categories.

    Raises:
        DataError: numbers too large or too close together, or whole numbers over too wide a range.
        UsageError: a stated column that there is not, or an unknown type.
    """
    for name, kind in (stated or {}).items():
        if name not in frame.columns:
            known = ", ".join(map(str, frame.columns))
            raise UsageError(f"schema must name columns of the table (got {name}): choose of {known}")
        if not isinstance(kind, list | tuple) and kind not in STATED:
            raise UsageError(f"the type of column {name} must be a list or one of {', '.join(STATED)} (got {kind!r})")
    return {str(name): _column(frame[name], str(name), (stated or {}).get(str(name))) for name in frame.columns}


def _column(column: pd.Series, name: str, stated: Any) -> dict[str, Any]:
    known = column.dropna()
    lacking = {"missing": True} if len(known) < len(column) else {}
    if stated in LEFT_OUT:
        return {"type": stated}
    if isinstance(stated, list | tuple):
        return _listed(column, name, list(stated))
    if len(known) == 0:
        return {"type": "constant", "value": None}
    dtype = column.dtype
    categorical = isinstance(dtype, pd.CategoricalDtype) or stated == "category"
    if not categorical and (pd.api.types.is_bool_dtype(dtype) or stated == "bool"):
        return {"type": "bool", **lacking}
    if not categorical and pd.api.types.is_datetime64_any_dtype(dtype):
        return _date(known, None) | lacking
    if not categorical and pd.api.types.is_timedelta64_dtype(dtype):
        return _date(known, None, span=True) | lacking
    if not categorical and pd.api.types.is_numeric_dtype(dtype):
        if stated not in ("number", "real") and whole_dates(known):
            return _date(known, WHOLE) | lacking
        return {**_numeric(known, name, stated == "real", bool(lacking)), **lacking}
    form = None if categorical else format_of(known)
    if form is not None:
        return _date(known, form) | lacking
    if not categorical and spans(known):
        return _date(known, "days", span=True) | lacking
    return _category(column, name, stated)


def _listed(column: pd.Series, name: str, words: list[Any]) -> dict[str, Any]:
    """A column of ordered categories that a user lists."""
    known = {_word(v) for v in column.dropna().unique()}
    unlisted = known - {_word(w) for w in words}
    if unlisted:
        raise UsageError(f"schema of column {name} must list every category (got none for {sorted(unlisted)[0]})")
    gap = [None] if column.isna().any() else []
    return {"type": "category", "categories": [*words, *gap], "ordered": True}


def _category(column: pd.Series, name: str, stated: Any) -> dict[str, Any]:
    """Categories, the most frequent first but where they have an order; or ids, or free text."""
    codes, values = pd.factorize(column.astype(object))
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    if stated != "category" and not isinstance(column.dtype, pd.CategoricalDtype):
        words = [_word(v) for v in values]
        if len(words) > max(20, len(column) // 2):
            long = float(np.mean([len(w) for w in words])) > 24 or np.mean([len(w.split()) for w in words]) > 3
            return {"type": "text" if long else "id", "different": len(words)}
    often: dict[str, int] = {}
    first: dict[str, Any] = {}
    for value, count in zip(values, counts.tolist(), strict=True):
        word = _word(value)
        often[word] = often.get(word, 0) + count
        first.setdefault(word, _plain(value))
    if (codes < 0).any():
        often[""] = often.get("", 0)  # its place is below
    order = sorted(first, key=lambda w: (-often[w], w))
    listed = [first[w] for w in order]
    lacking = int((codes < 0).sum())
    if lacking:
        at = next((i for i, w in enumerate(order) if often[w] < lacking), len(order))
        listed.insert(at, None)
    about: dict[str, Any] = {"type": "category", "categories": listed}
    if isinstance(column.dtype, pd.CategoricalDtype):
        about["names"] = [_plain(v) for v in column.dtype.categories]
        if column.dtype.ordered:
            known = [v for v in about["names"] if _word(v) in first]
            about |= {"ordered": True, "categories": known + ([None] if lacking else [])}
    return about


def _date(known: pd.Series, form: str | None, span: bool = False) -> dict[str, Any]:
    x, unit = instants(known, form, span=span)
    step = int(np.gcd.reduce(np.diff(np.unique(x)))) or 1
    about = {"type": "date", "offset": int(x.min()), "step": step, "high": int(x.max()), "unit": unit}
    about |= {"span": True} if span else {}
    return about if form is None else about | {"format": form}


def _numeric(known: pd.Series, name: str, real: bool, lacking: bool) -> dict[str, Any]:
    dtype = plain_dtype(known.dtype)
    values = known.to_numpy(dtype=dtype)
    if dtype.kind in "iu" and not real:
        low, high = int(values.min()), int(values.max())
        different = len(np.unique(values)) if high - low >= EXACT else 0
        if different > max(20, len(values) // 2):
            return {"type": "id", "different": different}
        if different:
            raise DataError(
                f"column {name} holds whole numbers from {low} to {high}, a range beyond 2^53 (an id?): drop it"
            )
        if low == high and not lacking:
            return {"type": "constant", "value": low}
        return {"type": "whole", "low": low, "high": high, "offset": low if max(-low, high) > EXACT else 0}
    return _reals(values.astype(np.float64) if dtype.kind in "iu" else values, name, real, lacking)


def _reals(values: np.ndarray, name: str, real: bool, lacking: bool) -> dict[str, Any]:
    eps, x = float(np.finfo(values.dtype).eps), values.astype(np.float64)
    with np.errstate(over="ignore"):
        largest, spread = float(np.abs(x).max()), float(np.ptp(x))
    if spread <= 8 * eps * largest:
        value = float(np.median(x))
        return {"type": "levels", "values": [value]} if lacking else {"type": "constant", "value": value}
    if largest > LARGEST or spread < SMALLEST:
        raise DataError(
            f"column {name} has magnitudes that cannot be squared in float64 (largest {largest:.3g}, spread "
            f"{spread:.3g}): change its unit, dividing it by {largest:.0e}"
        )
    if real:
        return {"type": "real"}
    if on_grid(x, eps).all():
        return {"type": "whole", "low": float(x.min()), "high": float(x.max()), "offset": 0}
    found = grid_of(x, eps)
    if found["type"] not in ("decimal", "lattice") and values.dtype == np.float64 and single(x):
        rounded = grid_of(x, float(np.finfo(np.float32).eps))
        if rounded["type"] == "decimal":
            return rounded | {"single": True}
    places = written_places(x, eps) if found["type"] == "real" else None
    return found if places is None else found | {"written": places}


def numbers(frame: pd.DataFrame, schema: Schema) -> tuple[np.ndarray, dict[int, str]]:
    """The table as float64 (n, d), in steps of a grid where there is one; and the rows that cannot occur, with reasons.

    Missing values are NaN. Rows that cannot occur hold a possible value instead.
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
        return _codes(column, name, about)
    lacking = column.isna().to_numpy()
    known = column[~lacking]
    found, good, reason, instead = _known_numbers(known, about)
    x = np.full(len(column), np.nan)
    x[~lacking] = np.where(good, found, np.round(found) if instead is None else instead)
    rows = np.flatnonzero(~lacking)[~good]
    shown = known.to_numpy(dtype=object)[~good]
    reasons = {int(row): f"column {name} {reason} (got {_short(v)})" for row, v in zip(rows, shown, strict=True)}
    if lacking.any() and not about.get("missing") and not (kind == "constant" and about["value"] is None):
        typical = 0.0 if len(known) == 0 else float(np.nanmedian(x))
        for row in np.flatnonzero(lacking):
            reasons[int(row)] = f"column {name} is missing, and no value of it was missing in training"
        x[lacking] = typical
    return x, reasons


def _known_numbers(column: pd.Series, about: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, str, float | None]:
    """Values that are not missing in steps, which of them can occur, why the others cannot, and what replaces them."""
    kind = about["type"]
    if kind == "bool":
        truth = {True: 1.0, False: 0.0, "True": 1.0, "False": 0.0, "true": 1.0, "false": 0.0}
        x = np.array([truth.get(v, np.nan) for v in column.tolist()], np.float64)
        return x, ~np.isnan(x), "is no truth value", 0.0
    if kind == "date":
        moments, _ = instants(column, about.get("format"), about.get("unit", "ns"), span=about.get("span", False))
        valid = moments != np.iinfo(np.int64).min
        x = (moments - about["offset"]) / about["step"]
        return x, valid & (x == np.round(x)), "is off the grid of the dates in training", 0.0
    dtype = plain_dtype(column.dtype)
    eps = float(np.finfo(dtype.name).eps) if dtype.kind == "f" else 2.0**-52
    eps = max(eps, float(np.finfo(np.float32).eps)) if about.get("single") else eps
    if kind == "whole" and about["offset"] and dtype.kind in "iu":
        plain = column.to_numpy(dtype=dtype)
        return (plain - dtype.type(about["offset"])).astype(np.float64), np.ones(len(plain), bool), "", None
    x = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    sound = np.isfinite(x)
    x = np.where(sound, x, 0.0)
    if kind == "constant":
        if about["value"] is None:
            return x, np.zeros(len(x), bool), "was always missing in training", 0.0
        same = np.abs(x - about["value"]) <= max(4 * eps, 2.0**-50) * abs(about["value"])
        return x, sound & same, f"was always {about['value']:g} in training", float(about["value"])
    if kind == "real":
        for value in about.get("heavy", ()):
            x = np.where(np.abs(x - value) <= 4 * eps * abs(value), value, x)
        return x, sound, "is no finite number", 0.0
    if kind == "levels":
        values = np.asarray(about["values"])
        at = np.abs(values[None, :] - x[:, None]).argmin(1) if len(values) < 64 else _nearest(values, x)
        near = np.abs(values[at] - x) <= 8 * max(eps, 2.0**-52) * np.abs(x).clip(min=1e-300)
        return at.astype(np.float64), sound & near, f"is none of the {len(values)} values in training", 0.0
    if kind == "lattice":
        k = (x - about["offset"]) / about["step"]
        near = np.abs(k - np.round(k)) <= np.maximum(0.02, 32 * eps * np.abs(x) / about["step"])
        return np.where(near, np.round(k), k), sound & near, f"is off the grid in steps of {about['step']:.6g}", 0.0
    k = x * 10.0 ** about.get("places", 0)
    whole = near_grid if about.get("places") else on_grid
    near = whole(k, max(eps, 2.0**-52)) | (dtype.kind in "iu")
    held = f"at most {about['places']} decimals" if about.get("places") else "whole numbers"
    return np.where(near, np.round(k), k), sound & near, f"held {held} in training", None


def _codes(column: pd.Series, name: str, about: Mapping[str, Any]) -> tuple[np.ndarray, dict[int, str]]:
    known = {None if w is None else _word(w): i for i, w in enumerate(about["categories"])}
    codes, values = pd.factorize(column.astype(object), use_na_sentinel=True)
    numbers_of = np.array([known.get(_word(v), -1) for v in values] + [known.get(None, -2)], np.float64)
    x = numbers_of[codes]
    reasons = {}
    for row in np.flatnonzero(x < 0).tolist():
        reasons[row] = (
            f"column {name} is missing, and no value of it was missing in training"
            if codes[row] < 0
            else f"column {name}: '{values[codes[row]]}' was not seen in training"
        )
    return np.maximum(x, 0.0), reasons


def _nearest(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    right = np.searchsorted(values, x).clip(1, len(values) - 1)
    return right - (x - values[right - 1] < values[right] - x)


def restored(x: np.ndarray, about: Mapping[str, Any], dtype: Any) -> Any:
    """A column of numbers, as of `numbers`, in its own type; samples stay within the range that was seen."""
    kind = about["type"]
    if kind == "category":
        return _restored_words(x, about, dtype)
    if kind == "constant" and about["value"] is None:
        return pd.Series([None] * len(x), dtype=object).astype(dtype)
    lacking = np.isnan(x)
    x = np.where(lacking, 0.0, x)
    if kind == "date":
        most = (about["high"] - about["offset"]) // about["step"]
        moments = about["offset"] + np.clip(np.floor(x), 0, most).astype(np.int64) * about["step"]
        return restored_dates(moments, lacking, about, dtype)
    values = _values(x, about, dtype)
    if not lacking.any():
        return values
    filled = pd.Series(values).astype(dtype)
    filled[lacking] = np.nan if isinstance(filled.dtype, np.dtype) and filled.dtype.kind == "f" else None
    return filled


def _values(x: np.ndarray, about: Mapping[str, Any], dtype: Any) -> Any:
    kind, plain = about["type"], plain_dtype(pd.api.types.pandas_dtype(dtype))
    if kind == "bool":
        return (
            pd.Series(np.clip(np.floor(x), 0, 1).astype(bool)).astype(dtype)
            if dtype != "bool"
            else (np.clip(np.floor(x), 0, 1).astype(bool))
        )
    if kind == "constant":
        found = np.full(len(x), about["value"]).astype(plain)
    elif kind == "levels":
        values = np.asarray(about["values"])
        found = values[np.clip(np.floor(x), 0, len(values) - 1).astype(np.int64)].astype(plain)
    elif kind == "lattice":
        most = np.round((about["high"] - about["offset"]) / about["step"])
        found = (about["offset"] + np.clip(np.floor(x), 0, most) * about["step"]).astype(plain)
    elif kind == "whole":
        low, high = int(about["low"]) - about["offset"], int(about["high"]) - about["offset"]
        k = np.clip(np.floor(x), low, high)
        found = (k.astype(np.int64) if plain.kind in "iu" else k).astype(plain)
        if about["offset"]:
            found = found + plain.type(about["offset"])
    elif kind == "decimal":
        found = (np.floor(x) / 10.0 ** about["places"]).astype(plain)
    else:
        found = (np.round(x, about["written"]) if "written" in about else x).astype(plain)
    return found if str(plain) == dtype else pd.Series(found).astype(dtype)


def _restored_words(x: np.ndarray, about: Mapping[str, Any], dtype: Any) -> Any:
    words = np.empty(len(about["categories"]), dtype=object)
    words[:] = about["categories"]
    plain = pd.Series(words[np.clip(np.floor(x), 0, len(words) - 1).astype(np.int64)], dtype=object)
    if dtype != "category":
        return plain.astype(dtype)
    names = about.get("names") or sorted(w for w in about["categories"] if w is not None)
    return plain.astype(pd.CategoricalDtype(names, ordered=bool(about.get("names") and about.get("ordered"))))


def plain_dtype(dtype: Any) -> np.dtype:
    """The numpy type of a column of numbers, which may be one of pandas' own types."""
    if isinstance(dtype, np.dtype):
        return dtype if dtype.kind in "iufb" else np.dtype(np.float64)
    return np.dtype(getattr(dtype, "numpy_dtype", np.float64))


def measure_of(schema: Schema) -> str:
    """The measure of a density of rows: counting on grids and at values of their own, Lebesgue elsewhere."""
    varying = [about for about in schema.values() if about["type"] not in ("constant", *LEFT_OUT)]
    grids = [about["type"] in GRIDS for about in varying]
    atoms = any(about.get("heavy") or (about.get("missing") and about["type"] == "real") for about in varying)
    if all(grids):
        return "counting"
    if atoms:
        return "Lebesgue, counting on columns on a grid and at single values"
    return "Lebesgue, counting on columns on a grid" if any(grids) else "Lebesgue"


def _word(value: Any) -> str:
    """The name of a category."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    """A category as a plain JSON value, its own where it is one."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | bool | int | float) else _word(value)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float | np.number) and not isinstance(value, bool) else str(value)
