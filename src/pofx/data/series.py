"""Time series of several channels: from files, tables, arrays and lists of mappings as GluonTS has them.

A series is values float64 (steps, channels), NaN where nothing was measured, with covariates that are known in advance
(steps, known). From times come sines and cosines of the hour, the weekday and the day of the year.
"""

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown
from pofx.data.bounded import reading, unzipped
from pofx.data.columns import framed
from pofx.data.dialect import text_of
from pofx.data.frames import ENDINGS, parsed, rows_in
from pofx.data.numbers import as_floats
from pofx.data.times import DATED, after, calendar, times_of

SHORTEST = 16  # steps of a series


@dataclass(frozen=True, eq=False)
class Series:
    """Values (steps, channels) at equal steps, with what is known of them in advance, and `ahead` of the next steps."""

    values: np.ndarray
    names: tuple[str, ...]
    times: pd.DatetimeIndex | None = None
    known: np.ndarray | None = None
    ahead: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, part: slice) -> "Series":
        times = None if self.times is None else self.times[part]
        known = None if self.known is None else self.known[part]
        ahead = self.ahead if part.stop is None or part.stop >= len(self) else None
        return Series(self.values[part], self.names, times, known, ahead)

    @property
    def covariates(self) -> np.ndarray:
        """The known covariates and the calendar of every step: (steps, k)."""
        given = np.zeros((len(self), 0)) if self.known is None else self.known
        return np.concatenate((given, calendar(self.times, len(self))), 1)

    def following(self, steps: int, known: Any = None) -> np.ndarray:
        """The covariates of the next steps, whose known ones are given.

        Raises:
            UsageError: covariates were known in the past, and are not given for the future.
        """
        width = 0 if self.known is None else self.known.shape[1]
        future = np.zeros((steps, 0))
        if known is None and self.ahead is not None and len(self.ahead) >= steps:
            known = self.ahead
        if width:
            if known is None:
                raise UsageError(f"known covariates must be given for {steps} future steps: pass known=array")
            future = np.asarray(known, np.float64).reshape(len(known), -1)[:steps]
            if future.shape != (steps, width) or not np.isfinite(future).all():
                raise DataError(f"known must be finite numbers of shape ({steps}, {width}) (got {np.shape(known)})")
        times = None
        if self.times is not None:
            times = after(self.times, steps)
        return np.concatenate((future, calendar(times, steps)), 1)


def series(data: Any, *, known: Sequence[str] = (), columns: Sequence[str] | None = None, name: str = "") -> Series:
    """One series.

    Args:
        data: a path (.csv, .csv.gz, .txt.gz), a DataFrame (its index or a column of dates are the times), an array
            (steps,) or (steps, channels), a mapping of columns, or one with "target", as GluonTS has it, perhaps
            "start" and "feat_dynamic_real".
        known: columns that are known in advance.
        columns: the channels, if not all others.

    Raises:
        DataError: too short, not numeric, or infinite.
    """
    if isinstance(data, Series):
        return data
    if isinstance(data, str | Path):
        data, name = read_table(Path(data)), name or str(data)
    name = name or "the series"
    if isinstance(data, Mapping) and "target" in data:
        return _entry(data, name)
    if isinstance(data, Mapping):
        with reading(name, "mapping of columns", "give columns of equal lengths"):
            data = pd.DataFrame(dict(data))
    if isinstance(data, pd.Series):
        data = data.to_frame("x0" if data.name is None else data.name)
    frame = framed(data)
    if frame is None:
        array = _steps(data, name)
        return checked(Series(array, tuple(f"x{i}" for i in range(array.shape[1]))), name)
    if isinstance(frame.index, pd.MultiIndex):  # such as of names and times
        frame = frame.reset_index()
    if len(frame) < SHORTEST:
        raise DataError(f"{name} must have at least {SHORTEST} steps (got {len(frame)})")
    try:
        times, frame = times_of(frame, (*known, *(columns or ())), name)
    except DataError as error:
        names = [str(c) for c in frame.columns if _repeats(frame[c])]
        if not names:
            raise
        raise DataError(
            f"{error}; or, of several series in one table, name the column of their names: {names[0]}?"
        ) from None
    for column in (*known, *(columns or ())):
        if column not in frame.columns:
            raise unknown(f"column of {name}", column, frame.columns)
    chosen = list(columns) if columns else [c for c in frame.columns if c not in known]
    wrong = [c for c in (*chosen, *known) if not pd.api.types.is_numeric_dtype(frame[c])]
    if not columns:  # one word in all rows, as the name of a shop: no channel
        same = [c for c in wrong if c not in known and frame[c].nunique(dropna=False) == 1]
        if same:
            warnings.warn(f"{', '.join(same)} of {name} is the same word in all rows: left out", stacklevel=2)
        wrong, chosen = ([c for c in some if c not in same] for some in (wrong, chosen))
    if wrong or not chosen:
        got = "; ".join(f"{c}, {_no_number(frame[c])}" for c in wrong) or "none"
        numeric = ",".join(str(c) for c in chosen if c not in wrong)
        perhaps = "".join(f", or --by {c} if it names series" for c in wrong if _repeats(frame[c]))
        raise DataError(
            f"channels of {name} must be numbers (got {got}): pass those that are with "
            f"--columns {numeric or 'NAME'} (columns=[…] in Python){perhaps}"
        )
    values = frame[chosen].to_numpy(np.float64, na_value=np.nan)
    covariates = _known_in(frame[list(known)], np.isnan(values).all(1), name) if known else None
    made = Series(values, tuple(map(str, chosen)), times, covariates)
    return checked(made, name)


def _steps(data: Any, name: str) -> np.ndarray:
    """An array as values (steps, channels)."""
    array = as_floats(data, name)
    if array.ndim not in (1, 2) or array.size == 0:
        raise DataError(f"{name} must have shape (steps,) or (steps, channels), not empty (got {array.shape})")
    return array.reshape(len(array), -1)


def _known_in(frame: pd.DataFrame, empty: np.ndarray, name: str) -> np.ndarray:
    """Known covariates (steps, k); those of steps without a row are as in the step before."""
    found = np.array(frame.to_numpy(np.float64, na_value=np.nan))
    lacking = np.isnan(found).all(1) & empty
    if lacking.any():
        found[lacking] = pd.DataFrame(found).ffill().bfill().to_numpy()[lacking]
        warnings.warn(f"known covariates of {name} are as in the step before in {lacking.sum()} steps without a row",
                      stacklevel=3)  # fmt: skip
    return found


def _no_number(column: pd.Series) -> str:
    """The first value of a column that is no number, and its row."""
    other = pd.to_numeric(column, errors="coerce").isna() & column.notna()
    if not other.any():
        return "numbers as text"
    row = int(np.argmax(other.to_numpy()))
    return f"{str(column.iloc[row])[:40]!r} in row {row}"


def _repeats(column: Any) -> bool:
    """Whether a column holds words that come again and again, or numbers in blocks: names of series, and no times."""
    if isinstance(column, pd.DataFrame) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        return False
    words = column.dropna()
    if not len(words):
        return False
    if pd.api.types.is_numeric_dtype(column.dtype):  # numbers of series, one series below the other
        runs = int((column != column.shift()).sum())
        return bool((words % 1 == 0).all() and 1 < runs == words.nunique() <= len(words) // SHORTEST)
    return bool(words.nunique() <= len(words) // SHORTEST) and not words.astype(str).str.contains(DATED).mean() > 0.5


def several(data: Any, *, by: str | None = None, **options: Any) -> list[Series]:
    """Series from a list of them (or of mappings with "target", or a data set of GluonTS), from a long table, or one.

    Args:
        by: the column of a long table that names the series of a row.
        options: of `series`.
    """
    return list(by_name(data, by=by, **options).values())


def by_name(data: Any, *, by: str | None = None, **options: Any) -> dict[str, Series]:
    """As `several`, by name: that of a long table, the `item_id` of a mapping, or their number.

    Raises:
        UsageError: there is no such column.
        DataError: series of different channels, or one that cannot be used.
    """
    if isinstance(data, str | Path):
        origin = str(data)
        data = _lines(Path(data)) or read_table(Path(data))
    else:
        origin = "the table"
    frame = framed(data) if by is not None else None
    if by is not None:
        if frame is None or by not in frame.columns:
            raise unknown("column of names of series", by, [] if frame is None else map(str, frame.columns))
        parts = {str(k): part.drop(columns=by) for k, part in frame.groupby(by, sort=False)}
        short = [k for k, part in parts.items() if len(part) < SHORTEST]
        if short:
            raise DataError(
                f"{len(short)} series have fewer than {SHORTEST} steps (the first: {short[0]}): leave them out"
            )
        found = {k: series(part, name=f"series {k}", **options) for k, part in parts.items()}
    else:
        entries = _entries(data)
        if entries is None:
            found = {"": series(data, name="" if origin == "the table" else origin, **options)}
        else:
            names = [
                str(one.get("item_id", i)) if isinstance(one, Mapping) else str(i) for i, one in enumerate(entries)
            ]
            names = names if len(set(names)) == len(names) else [str(i) for i in range(len(entries))]
            found = {k: series(one, name=f"series {k}", **options) for k, one in zip(names, entries, strict=True)}
    widths = {(one.values.shape[1], one.covariates.shape[1]) for one in found.values()}
    if len(widths) > 1:
        raise DataError("all series must have the same channels and covariates: give them one by one")
    return found


def _lines(path: Path) -> list[Any] | None:
    """The mappings with a list "target" of a file, one a line, as GluonTS writes them; None: it holds no such lines."""
    if path.suffix.lower() not in (".jsonl", ".ndjson", ".json") or not path.is_file():
        return None
    with reading(path, "series", 'give lines of {"start": …, "target": […]}'):
        text = text_of(path)
        try:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            found = json.loads(text)
    lines = found[0] if len(found) == 1 and isinstance(found[0], list) else found
    rows = [v for v in lines if isinstance(v, dict)] if isinstance(lines, list) else []
    whole = len(rows) == len(lines) and all(isinstance(v.get("target"), list) for v in rows)
    if not whole and any(isinstance(v, list) for row in rows for v in row.values()):
        raise DataError(f'{path} has lines without a list "target": give lines of {{"start": …, "target": […]}}')
    return [{**line, "target": _known(line["target"])} for line in lines] if whole and lines else None


def _known(value: Any) -> Any:
    """Numbers of JSON, where null and "NaN" are missing."""
    if isinstance(value, list):
        return [_known(v) for v in value]
    return np.nan if value in (None, "NaN") else value


def _entries(data: Any) -> list[Any] | None:
    """The members of a list of series, of mappings or tables, or of a data set of GluonTS; None: one series."""
    if isinstance(data, str | Mapping | Series | pd.Series | pd.DataFrame | np.ndarray) or framed(data) is not None:
        return None
    if not hasattr(data, "__iter__"):
        return None
    entries = list(data)
    of = entries[0] if entries else None
    members = isinstance(of, Mapping | Series | pd.Series) or (of is not None and framed(of) is not None)
    return entries if members else None


def _entry(data: Mapping[str, Any], name: str) -> Series:
    """A mapping as GluonTS has it: target (steps,) or (channels, steps); what is known in advance, feat_dynamic_real
    (k, steps), may go on beyond the target."""
    target = as_floats(data["target"], f"target of {name}")
    values = _steps(target if target.ndim == 1 else target.T, f"target of {name}")
    times, start = None, data.get("start")
    if start is not None:
        freq = getattr(start, "freqstr", None) or data.get("freq")
        try:
            stamp = start.to_timestamp() if hasattr(start, "to_timestamp") else pd.Timestamp(start)
            times = None if freq is None else pd.date_range(stamp, periods=len(values), freq=freq)
        except (ValueError, TypeError) as error:
            raise DataError(f"{name}: start must be a date and freq a frequency (got {start!r}, {freq!r})") from error
        if freq is None:
            warnings.warn(
                'series have a "start" and no "freq" (such as "h" or "D"): they are read without times', stacklevel=2
            )
    known, ahead = data.get("feat_dynamic_real"), None
    if known is not None:
        rows = np.atleast_2d(as_floats(known, f"feat_dynamic_real of {name}"))
        if rows.ndim != 2 or rows.shape[1] < len(values):
            raise DataError(
                f"feat_dynamic_real of {name} must have shape (k, {len(values)}), or go on beyond (got {rows.shape})"
            )
        known, ahead = rows.T[: len(values)], rows.T[len(values) :]
    return checked(Series(values, tuple(f"x{i}" for i in range(values.shape[1])), times, known, ahead), name)


def checked(made: Series, name: str) -> Series:
    """The series, if it can be used."""
    if len(made) < SHORTEST:
        wide = ", and rows are steps: transpose it" if made.values.shape[1] >= SHORTEST else ""
        raise DataError(f"{name} must have at least {SHORTEST} steps (got {len(made)}{wide})")
    if np.isinf(made.values).any():
        raise DataError(f"{name} has infinite values: mark what is missing as NaN")
    empty = [n for n, column in zip(made.names, made.values.T, strict=True) if np.isnan(column).all()]
    if empty:
        raise DataError(f"{name} has channels without a value, {', '.join(empty)}: leave them out")
    known = made.known if made.known is None or made.ahead is None else np.concatenate((made.known, made.ahead))
    if known is not None and not np.isfinite(known).all():
        step = int(np.argmin(np.isfinite(known).all(1)))
        raise DataError(f"known covariates of {name} must be finite (not so in step {step}): fill them first")
    return made


def read_table(path: Path) -> pd.DataFrame:
    """A file of a series; numbers without a line of names are channels x0, x1, …"""
    if not path.is_file():
        raise DataError(f"there is no file {path}: check the path")
    if path.suffix.lower() != ".gz":
        return rows_in(path) if path.suffix.lower() in ENDINGS else parsed(text_of(path), path.name)
    content = io.BytesIO()
    unzipped(path, content)
    with reading(path, "series", "give a .csv, a line per step"):
        return parsed(content.getvalue().decode("utf-8-sig"), path.name)
