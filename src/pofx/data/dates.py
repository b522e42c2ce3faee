"""Dates as whole numbers of a unit since 1970, and back: dates of any resolution and time zone, and dates in words."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

FORMATS = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d.%m.%y",
    "%-m/%-d/%Y",
    "%-d/%-m/%Y",
    "%-m/%-d/%y",
    "%-d/%-m/%y",
    "%-d.%-m.%Y",
    "%-d.%-m.%y",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %I:%M %p",
    "%-m/%-d/%Y %H:%M",
    "%-m/%-d/%Y %-H:%M",
    "%-m/%-d/%Y %-I:%M %p",
    "%-m/%-d/%y %-H:%M",
    "%Y-%m-%d %H:%M:%S+00:00",
    "%Y-%m-%dT%H:%M:%S+00:00",
    "%Y-%m",
    "%b %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
)
LOOKED_AT = 50  # values by which a format is ruled out


def format_of(words: pd.Series) -> str | None:
    """The format in which all words are dates, so that they come back letter for letter; None where there is none."""
    values = words.astype(object).to_numpy()
    if not all(isinstance(v, str) and 6 <= len(v) <= 30 and v[-1] in "0123456789ZM" for v in values[:LOOKED_AT]):
        return None
    for form in FORMATS:
        if _written(values[:LOOKED_AT], form) and _written(pd.unique(values), form):
            return form
    return None


def _written(words: np.ndarray, form: str) -> bool:
    found = pd.to_datetime(pd.Series(words, dtype=object), format=read_by(form), errors="coerce")
    return bool(found.notna().all()) and bool((in_words(found, form).to_numpy(object) == words).all())


def read_by(form: str) -> str:
    """A format as it is read: days with and without a leading zero are read alike."""
    return form.replace("%-", "%")


def in_words(moments: pd.Series, form: str) -> pd.Series:
    """Dates as text; "%-d" is a day without a leading zero, which strftime knows on some systems alone."""
    if "%-" not in form:
        return moments.dt.strftime(form)
    text = moments.dt.strftime(re.sub(r"%-(\w)", r"{\1}", form))
    of = {"m": moments.dt.month, "d": moments.dt.day, "H": moments.dt.hour, "I": (moments.dt.hour + 11) % 12 + 1}
    names = re.findall(r"%-(\w)", form)
    values = zip(*(of[name] for name in names), strict=True)
    filled = [
        t if not isinstance(t, str) else t.format(**dict(zip(names, v, strict=True)))
        for t, v in zip(text, values, strict=True)
    ]
    return pd.Series(filled, index=moments.index, dtype=object)


def instants(column: pd.Series, form: str | None, unit: str | None = None) -> tuple[np.ndarray, str]:
    """Dates as int64 in a unit ("us", or "ns" where they need it), and the unit; the least integer for what is none."""
    form = None if form is None else read_by(form)
    moments: Any = pd.to_datetime(column, format=form, errors="coerce", utc=True)
    if unit is None:
        unit = "us"
        if moments.dtype.unit == "ns" and (moments.dropna().dt.nanosecond % 1000 != 0).any():
            unit = "ns"
    return moments.dt.tz_localize(None).to_numpy().astype(f"datetime64[{unit}]").astype(np.int64), unit


def restored_dates(moments: np.ndarray, lacking: np.ndarray, about: Mapping[str, Any], dtype: Any) -> Any:
    """Dates from whole numbers of their unit, in their own type or words."""
    found = pd.Series(moments.astype(f"datetime64[{about.get('unit', 'ns')}]"))
    if about.get("format"):
        words = in_words(found, about["format"]).astype(object)
        words[lacking] = None
        return words.astype(dtype)
    found[lacking] = pd.NaT
    if not dtype.startswith("datetime64") or "," not in dtype:
        return found.astype(dtype)
    return found.dt.tz_localize("UTC").astype(dtype)
