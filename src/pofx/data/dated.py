"""Dates that a table holds as words or whole numbers, as dates, which are compared and counted in days."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pofx.data.dates import WHOLE, digits, format_of, in_words, plain_format, whole_dates

DAY = 86400  # seconds


class Dated:
    """The columns of a table whose words or whole numbers are dates: to dates, and back."""

    def __init__(self, frame: pd.DataFrame | None = None, formats: Mapping[str, str] | None = None) -> None:
        """formats: by column, instead of a table in which they are found."""
        self.formats, self.dtypes = dict(formats or {}), dict[str, Any]()
        for name in frame.columns if frame is not None else ():
            assert frame is not None
            column = frame[name]
            if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
                form = format_of(column.dropna())
            else:
                form = WHOLE if whole_dates(column.dropna()) else None
            if form is not None:
                self.formats[name], self.dtypes[name] = form, column.dtype

    def forward(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Words as dates; a word that is none is missing."""
        found = {
            name: pd.to_datetime(_words(frame[name]), format=plain_format(form), errors="coerce")
            for name, form in self.formats.items()
            if name in frame.columns and frame[name].dtype.kind != "M"
        }
        return frame.assign(**found)

    def counted(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Dates and spans of time as days."""
        found = self.forward(frame)
        return found.assign(**{c: days(found[c]) for c in found.columns if found[c].dtype.kind in "mM"})

    def backward(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Dates as words of their format, in their type."""
        found = {}
        for name, form in self.formats.items():
            if name in frame.columns and frame[name].dtype.kind == "M":
                words = in_words(frame[name], form).astype(object).where(frame[name].notna(), None)
                whole = pd.api.types.is_numeric_dtype(self.dtypes[name])
                found[name] = (pd.to_numeric(words) if whole else words).astype(self.dtypes[name])
        return frame.assign(**found)


def _words(column: pd.Series) -> pd.Series:
    return digits(column) if pd.api.types.is_numeric_dtype(column.dtype) else column


def in_days(frames: Sequence[pd.DataFrame], reference: pd.DataFrame) -> list[pd.DataFrame]:
    """Tables whose dates, also those in words, are days: numbers, which are near one another or not."""
    dated = Dated(reference)
    return [dated.counted(frame) for frame in frames]


def days(moments: pd.Series) -> pd.Series:
    """Dates as days since 1970, spans of time as days: float64, NaN where there is none."""
    if moments.dtype.kind == "m":
        return moments.dt.total_seconds() / DAY
    plain = moments.dt.tz_convert("UTC").dt.tz_localize(None) if getattr(moments.dtype, "tz", None) else moments
    return (plain - pd.Timestamp(0)) / pd.Timedelta(days=1)


def moments(days: pd.Series, dtype: Any) -> pd.Series:
    """Days as dates or spans of time of a type, to the second."""
    spans = pd.to_timedelta((days * DAY).round(), unit="s")
    if dtype.kind == "m":
        return spans.astype(dtype)
    found = pd.Timestamp(0) + spans
    return found.dt.tz_localize("UTC").astype(dtype) if getattr(dtype, "tz", None) else found.astype(dtype)
