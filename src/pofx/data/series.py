"""Time series of several channels: from files, tables, arrays and lists of mappings as GluonTS has them.

A series is values float64 (steps, channels), NaN where nothing was measured, with covariates that are known in advance
(steps, known). From times come sines and cosines of the hour, the weekday and the day of the year.
"""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown
from pofx.data.bounded import reading, unzipped
from pofx.data.columns import framed
from pofx.data.dates import format_of
from pofx.data.dialect import text_of
from pofx.data.frames import ENDINGS, parsed, rows_in
from pofx.data.numbers import from_tensor

SHORTEST = 16  # steps of a series


@dataclass(frozen=True, eq=False)
class Series:
    """Values (steps, channels) at equal steps, with what is known of them in advance."""

    values: np.ndarray
    names: tuple[str, ...]
    times: pd.DatetimeIndex | None = None
    known: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, part: slice) -> "Series":
        times = None if self.times is None else self.times[part]
        return replace(
            self, values=self.values[part], times=times, known=None if self.known is None else self.known[part]
        )

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
        if width:
            if known is None:
                raise UsageError(f"known covariates must be given for {steps} future steps: pass known=array")
            future = np.asarray(known, np.float64).reshape(len(known), -1)[:steps]
            if future.shape != (steps, width) or not np.isfinite(future).all():
                raise DataError(f"known must be finite numbers of shape ({steps}, {width}) (got {np.shape(known)})")
        times = None
        if self.times is not None:
            gap = step_of(self.times)
            times = pd.DatetimeIndex([self.times[-1] + gap * (k + 1) for k in range(steps)])
        return np.concatenate((future, calendar(times, steps)), 1)


def series(data: Any, *, known: Sequence[str] = (), columns: Sequence[str] | None = None, name: str = "") -> Series:
    """One series.

    Args:
        data: a path (.csv, .csv.gz, .txt.gz), a DataFrame (its index or a column of dates are the times), an array
            (steps,) or (steps, channels), or a mapping with "target", as GluonTS has it, perhaps "start" and
            "feat_dynamic_real".
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
    frame = framed(data)
    if frame is None:
        array = np.asarray(from_tensor(data) if hasattr(data, "detach") else data, np.float64)
        if array.ndim not in (1, 2):
            raise DataError(f"{name} must have shape (steps,) or (steps, channels) (got {array.shape})")
        array = array.reshape(len(array), -1)
        return checked(Series(array, tuple(f"x{i}" for i in range(array.shape[1]))), name)
    times, frame = times_of(frame, (*known, *(columns or ())))
    for column in (*known, *(columns or ())):
        if column not in frame.columns:
            raise unknown(f"column of {name}", column, frame.columns)
    chosen = list(columns) if columns else [c for c in frame.columns if c not in known]
    wrong = [c for c in (*chosen, *known) if not pd.api.types.is_numeric_dtype(frame[c])]
    if wrong or not chosen:
        raise DataError(f"channels of {name} must be numbers (got {', '.join(wrong) or 'none'}): leave others out")
    covariates = frame[list(known)].to_numpy(np.float64) if known else None
    made = Series(frame[chosen].to_numpy(np.float64, na_value=np.nan), tuple(map(str, chosen)), times, covariates)
    return checked(made, name)


def several(data: Any, **options: Any) -> list[Series]:
    """Series from a list of them (or of mappings with "target"), or one series as a list."""
    listed = isinstance(data, list | tuple) and len(data) > 0 and not np.isscalar(data[0])
    if listed and (isinstance(data[0], Mapping | Series) or framed(data[0]) is not None):
        found = [series(one, name=f"series {i}", **options) for i, one in enumerate(data)]
    elif hasattr(data, "__iter__") and not hasattr(data, "__len__"):
        return several(list(data), **options)
    else:
        found = [series(data, **options)]
    widths = {(one.values.shape[1], one.covariates.shape[1]) for one in found}
    if len(widths) > 1:
        raise DataError("all series must have the same channels and covariates: give them one by one")
    return found


def _entry(data: Mapping[str, Any], name: str) -> Series:
    """A mapping as GluonTS has it: target (steps,) or (channels, steps)."""
    target = np.asarray(data["target"], np.float64)
    values = target[:, None] if target.ndim == 1 else target.T
    times, start = None, data.get("start")
    if start is not None:
        freq = getattr(start, "freqstr", None) or data.get("freq")
        stamp = start.to_timestamp() if hasattr(start, "to_timestamp") else pd.Timestamp(start)
        times = None if freq is None else pd.date_range(stamp, periods=len(values), freq=freq)
    known = data.get("feat_dynamic_real")
    known = None if known is None else np.asarray(known, np.float64).reshape(-1, len(values)).T
    return checked(Series(values, tuple(f"x{i}" for i in range(values.shape[1])), times, known), name)


def checked(made: Series, name: str) -> Series:
    """The series, if it can be used."""
    if len(made) < SHORTEST:
        raise DataError(f"{name} must have at least {SHORTEST} steps (got {len(made)})")
    if np.isinf(made.values).any():
        raise DataError(f"{name} has infinite values: mark what is missing as NaN")
    empty = [n for n, column in zip(made.names, made.values.T, strict=True) if np.isnan(column).all()]
    if empty:
        raise DataError(f"{name} has channels without a value, {', '.join(empty)}: leave them out")
    if made.known is not None and not np.isfinite(made.known).all():
        raise DataError(f"known covariates of {name} must be finite: fill them first")
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


def times_of(frame: pd.DataFrame, named: Sequence[str] = ()) -> tuple[pd.DatetimeIndex | None, pd.DataFrame]:
    """The times of a table, from its index or the first column of dates, and the table without that column.

    Raises:
        DataError: times that do not rise, or whose steps differ.
    """
    times: Any = frame.index if isinstance(frame.index, pd.DatetimeIndex) else None
    if hasattr(frame.index, "to_timestamp"):
        times = frame.index.to_timestamp()
    for column in frame.columns if times is None else ():
        values = frame[column]
        dated = pd.api.types.is_datetime64_any_dtype(values.dtype)
        if not dated and not pd.api.types.is_numeric_dtype(values.dtype):
            values = dates_of(values)
            dated = bool(values.notna().all())
        if dated:
            times, frame = pd.DatetimeIndex(values), frame.drop(columns=column)
            break
    if times is None:
        return None, _uncounted(frame, named)
    gap = step_of(times)
    steps = np.diff(times.to_numpy())
    if len(steps) and not (steps > np.timedelta64(0)).all():
        raise DataError("times must rise from row to row: sort them and remove copies")
    whole = np.asarray(steps / gap.to_timedelta64())
    if len(steps) and gap <= pd.Timedelta("7D") and (whole > 1.5).any():
        full = pd.date_range(times[0], times[-1], freq=gap)
        aligned = frame.set_axis(times, axis=0).reindex(full)  # steps that are missing are values that are missing
        return full, aligned.reset_index(drop=True)
    return times, frame.reset_index(drop=True)


def _uncounted(frame: pd.DataFrame, named: Sequence[str]) -> pd.DataFrame:
    """A table of a series without a first column that counts the steps, such as years: it is no channel."""
    first = frame.iloc[:, 0] if frame.shape[1] > 1 and frame.columns[0] not in named else None
    if first is not None and pd.api.types.is_numeric_dtype(first.dtype) and not pd.api.types.is_bool_dtype(first.dtype):
        steps = np.diff(first.to_numpy(np.float64, na_value=np.nan))
        if len(steps) > 1 and steps[0] > 0 and (steps == steps[0]).all():
            warnings.warn(f"column {first.name} counts the steps: taken for their times, left out", stacklevel=4)
            return frame.iloc[:, 1:]
    return frame


def dates_of(words: pd.Series) -> pd.Series:
    """Words as dates, NaT where they are none: all in one format, day and month in the order that all allow.

    Where both orders would do (01/02/2020), that in which the times rise by steps that differ least, with a warning.
    """
    known = words.dropna()
    form = format_of(known) if len(known) else None
    if form is None or form[:2] not in ("%d", "%m"):
        return pd.to_datetime(words, errors="coerce", format=form or "mixed")
    other = form.replace("%d", "%D").replace("%m", "%d").replace("%D", "%m")
    found = {f: pd.to_datetime(words, errors="coerce", format=f) for f in (form, other)}
    if found[other].isna().any() or found[form].equals(found[other]):
        return found[form]

    def uneven(times: pd.Series) -> float:
        steps = np.diff(times.dropna().to_numpy()).astype("timedelta64[s]").astype(float)
        return math.inf if not len(steps) or steps.min() <= 0 else float(steps.std() / steps.mean())

    best = min(found, key=lambda f: uneven(found[f]))
    warnings.warn(
        f"dates such as {known.iloc[0]} are read as {'day, month' if best[:2] == '%d' else 'month, day'}: write "
        "2020-12-31 if that is wrong",
        stacklevel=4,
    )
    return found[best]


def step_of(times: pd.DatetimeIndex) -> pd.Timedelta:
    """The usual time between two steps."""
    return pd.Timedelta(np.median(np.diff(times.to_numpy()).astype("timedelta64[ns]").astype(np.int64)), unit="ns")


def calendar(times: pd.DatetimeIndex | None, steps: int) -> np.ndarray:
    """Sines and cosines of the hour, the weekday and the day of the year: (steps, 6), or (steps, 0) without times."""
    if times is None or len(times) == 0:
        return np.zeros((steps, 6 if times is not None else 0))
    hours = np.asarray(times.hour + times.minute / 60)
    phases = (hours / 24, np.asarray(times.dayofweek) / 7, np.asarray(times.dayofyear) / 365.25)
    return np.stack([f(2 * np.pi * phase) for phase in phases for f in (np.sin, np.cos)], 1)
