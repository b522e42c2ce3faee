"""The times of a series: found in the index of a table or among its columns, at equal steps.

Steps without a row become missing values, with a warning; a month, a quarter and a year count as one step each. A table
whose newest row is its first is turned round. Rows between the steps, times that neither rise nor fall and a leap over
most of a series are refused: no row is dropped in silence.
"""

import math
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError
from pofx.data.dates import format_of, plain_format

UNEVEN = ((27.0, 32.0, 1), (88.0, 93.0, 3), (180.0, 185.0, 6), (363.0, 368.0, 12))  # days of steps of so many months
MONTH = 365.2425 / 12  # days
OFF = 0.2  # of a step, by which a time may lie beside it
FULLEST = 10  # steps per row, at the most, after gaps are filled
DAY = 86_400_000_000  # microseconds
NAMES = ("time", "times", "date", "dates", "datetime", "timestamp", "ds", "when", "period", "t", "step", "index")
DATED = re.compile(r"\d{4}|\d+\D+\d+\D+\d+")  # a year, or three numbers: else a library adds today's year
CLOCK = re.compile(r"\s*\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?\s*([ap]\.?m\.?)?\s*", re.IGNORECASE)


def times_of(
    frame: pd.DataFrame, named: Sequence[str] = (), name: str = "the series"
) -> tuple[pd.DatetimeIndex | None, pd.DataFrame]:
    """The times of a table, from its index or the first column of dates, and the table without that column.

    Raises:
        DataError: times that do not rise, or whose steps differ.
    """
    times: Any = frame.index if isinstance(frame.index, pd.DatetimeIndex) else None
    if hasattr(frame.index, "to_timestamp"):
        times = frame.index.to_timestamp()
    gaps: tuple[Any, Any] | None = None  # a column of dates that lacks some
    for column in frame.columns if times is None else ():
        values = frame[column]
        if isinstance(values, pd.DataFrame):
            raise DataError(f"{name} has columns of the same name: {column}: rename them")
        dated = pd.api.types.is_datetime64_any_dtype(values.dtype)
        if not dated and not pd.api.types.is_numeric_dtype(values.dtype):
            words, values = values, dates_of(values)
            dated = bool(values.notna().all())
            likely = words.where(words.astype(str).str.contains(DATED))
            if not dated and gaps is None and likely.notna().mean() > 0.5:
                found = dates_of(likely)
                gaps = (column, found) if found.notna().mean() > 0.5 else None
        if dated:
            times, frame = pd.DatetimeIndex(values), frame.drop(columns=column)
            break
    if times is None and gaps is not None and gaps[0] not in named:
        times, frame = pd.DatetimeIndex(gaps[1]), frame.drop(columns=gaps[0])
    if times is None:
        return _counted(frame, named, name)
    return filled(times, frame, name)


def filled(times: pd.DatetimeIndex, frame: pd.DataFrame, name: str) -> tuple[pd.DatetimeIndex, pd.DataFrame]:
    """Times at equal steps and the rows there, NaN in those that are missing.

    Raises:
        DataError: as `times_of`.
    """
    if times.isna().any():
        lacking = np.flatnonzero(np.asarray(times.isna()))
        first, n = lacking[0], len(lacking)
        raise DataError(f"{name} has no time in {n} rows (the first: row {first}): fill them in or drop them")
    frame = frame.reset_index(drop=True)
    moments = times.as_unit("us").asi8
    steps = np.diff(moments)
    if len(steps) and steps.max() < 0:
        warnings.warn(f"times of {name} fall from row to row: read from the last row to the first", stacklevel=5)
        return filled(times[::-1], frame.iloc[::-1], name)
    if len(steps) and steps.min() <= 0:
        k = int(np.flatnonzero(steps <= 0)[0])
        raise DataError(
            f"times of {name} must rise from row to row (row {k + 1}: {times[k + 1]} after {times[k]}): sort them and "
            "remove copies; clocks that are set back need a time zone"
        )
    if not len(steps):
        return times, frame
    usual, months = float(np.median(steps)), months_of(times)
    whole = steps / (months * MONTH * DAY if months else usual)
    counts = np.maximum(np.round(whole), 1).astype(np.int64)
    if (np.abs(whole - counts) > OFF).any():
        k = int(np.flatnonzero(np.abs(whole - counts) > OFF)[0])
        raise DataError(
            f"steps of {name} must be equal (mostly {pd.Timedelta(usual, unit='us')}, but {times[k + 1] - times[k]} "
            f"from {times[k]} to {times[k + 1]}): resample to one step, or give each stretch as a series"
        )
    places = np.concatenate(([0], np.cumsum(counts)))
    total, n = int(places[-1]) + 1, len(times)
    if total == n:
        return times, frame
    if total > FULLEST * n:
        k = int(np.argmax(counts))
        raise DataError(
            f"{name} leaps from {times[k]} to {times[k + 1]}: {total - n:,} of {total:,} steps would be missing; cut "
            "it there"
        )
    gone = np.setdiff1d(np.arange(total), places, assume_unique=True)
    every = np.round(np.interp(np.arange(total), places, moments - moments[0])).astype(np.int64) + moments[0]
    full = pd.DatetimeIndex(every.astype("datetime64[us]"))
    full = full if times.tz is None else full.tz_localize("UTC").tz_convert(times.tz)
    warnings.warn(
        f"{name}: {len(gone):,} of {total:,} steps have no row (the first: {full[gone[0]]}): taken as missing values",
        stacklevel=5,
    )
    numbers = frame.astype({c: np.float64 for c in frame.columns if pd.api.types.is_bool_dtype(frame[c].dtype)})
    return full, numbers.set_axis(places, axis=0).reindex(np.arange(total)).reset_index(drop=True)


def months_of(times: pd.DatetimeIndex) -> int:
    """Months of a step: 1, 3, 6 or 12, which differ in days; 0 where steps are shorter or others."""
    steps = np.diff(times.as_unit("us").asi8)
    if not len(steps) or (steps % max(int(np.median(steps)), 1) == 0).all():  # so many days, whatever the month
        return 0
    days = float(np.median(steps)) / DAY
    return next((months for low, high, months in UNEVEN if low <= days <= high), 0)


def after(times: pd.DatetimeIndex, steps: int) -> pd.DatetimeIndex:
    """The times of the steps that follow: ends of months stay ends of months."""
    months = months_of(times)
    if not months:
        return pd.DatetimeIndex([times[-1] + step_of(times) * (k + 1) for k in range(steps)])
    if bool(times.is_month_end.all()):
        found = [times[-1] + pd.offsets.MonthEnd(months * (k + 1)) for k in range(steps)]
    else:
        found = [times[-1] + pd.DateOffset(months=months * (k + 1)) for k in range(steps)]
    return pd.DatetimeIndex(found)


def _counted(frame: pd.DataFrame, named: Sequence[str], name: str) -> tuple[pd.DatetimeIndex | None, pd.DataFrame]:
    """A table whose first column counts the steps or writes dates as whole numbers (202401, 20240131, Unix times): it
    is no channel."""
    first = frame.iloc[:, 0] if frame.shape[1] > 1 and frame.columns[0] not in named else None
    if first is None or not pd.api.types.is_numeric_dtype(first.dtype) or pd.api.types.is_bool_dtype(first.dtype):
        return None, frame
    values, rest = first.to_numpy(np.float64, na_value=np.nan), frame.drop(columns=frame.columns[0])
    steps = np.diff(values)
    if len(steps) < 2 or not (steps > 0).all():
        return None, frame
    if (values == np.round(values)).all():
        found = _numbered(values, str(first.name))
        if found is not None:
            warnings.warn(f"column {first.name} of {name} is read as dates such as {found[0]}", stacklevel=5)
            return filled(found, rest, name)
    if (steps == steps[0]).all():
        warnings.warn(f"column {first.name} counts the steps: taken for their times, left out", stacklevel=5)
        return None, rest
    if str(first.name).casefold() in NAMES and float(np.abs(values).max()) < 1e10:
        return None, filled(pd.DatetimeIndex((1e6 * values).astype("datetime64[us]")), rest, name)[1]
    return None, frame


def _numbered(values: np.ndarray, name: str) -> pd.DatetimeIndex | None:
    """Rising whole numbers as the dates that they write; None where they write none."""
    low, high = values.min(), values.max()
    for form, first, last in (("%Y%m%d", 18000101, 22001231), ("%Y%m", 180001, 220012)):
        if first <= low and high <= last:
            found = pd.to_datetime(pd.Series(values.astype(np.int64).astype(str)), format=form, errors="coerce")
            return pd.DatetimeIndex(found) if found.notna().all() else None
    unit = "s" if 1e8 <= low and high < 5e9 else "ms" if 1e11 <= low and high < 5e12 else None
    if unit is None or name.casefold() not in NAMES:
        return None
    return pd.DatetimeIndex(values.astype(np.int64).astype(f"datetime64[{unit}]"))


def dates_of(words: pd.Series) -> pd.Series:
    """Words as dates, NaT where they are none: all in one format, day and month in the order that all allow.

    Where both orders would do (01/02/2020), that in which the times rise by steps that differ least, with a warning. A
    time of day alone, or a month without a year, is no date: it would get the year of today.
    """
    known = words.dropna()
    texts = known.astype(str)
    if not texts.str.contains(DATED).all() or texts.str.fullmatch(CLOCK).any():
        return pd.Series(pd.NaT, index=words.index)
    form = plain_format(format_of(known)) if len(known) else None
    if form is None or form[:2] not in ("%d", "%m"):
        try:
            return pd.to_datetime(words, errors="coerce", format=form or "mixed")
        except ValueError:  # several offsets, as of summer and winter
            warnings.warn("times have several offsets from UTC: all are read as UTC", stacklevel=6)
            return pd.to_datetime(words, errors="coerce", format="mixed", utc=True)
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
        stacklevel=5,
    )
    return found[best]


def step_of(times: pd.DatetimeIndex) -> pd.Timedelta:
    """The usual time between two steps."""
    return pd.Timedelta(np.median(np.diff(times.as_unit("us").asi8)), unit="us")


def calendar(times: pd.DatetimeIndex | None, steps: int) -> np.ndarray:
    """Sines and cosines of the hour, the weekday and the day of the year: (steps, 6), or (steps, 0) without times."""
    if times is None or len(times) == 0:
        return np.zeros((steps, 6 if times is not None else 0))
    hours = np.asarray(times.hour + times.minute / 60)
    phases = (hours / 24, np.asarray(times.day_of_week) / 7, np.asarray(times.day_of_year) / 365.25)
    return np.stack([f(2 * np.pi * phase) for phase in phases for f in (np.sin, np.cos)], 1)
