"""Dates as whole numbers of a unit since 1970, and back: of any resolution and time zone, dates and clocks in words."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

DAYS = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%d %b %Y",
    "%d %B %Y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d.%m.%y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d-%b-%y",
)
CLOCKS = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p")
MONTHS = ("%Y-%m", "%Y/%m", "%m/%Y", "%b %Y", "%B %Y", "%b-%Y", "%b-%y")
STAMPS = tuple(f"{day} {clock}" for day in DAYS for clock in CLOCKS)
FORMATS = (*DAYS, *(f"%Y-%m-%dT{clock}" for clock in CLOCKS[:2]), *STAMPS, *MONTHS, *CLOCKS)
SEVERAL = 3  # formats beside the first that dates of a column may have
ISO = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?( ?(Z|UTC|GMT)| ?[+-]\d\d:?\d\d)?"
LOOKED_AT = 50  # values by which a format is ruled out
OFFSET = re.compile(r"(?<=:\d\d)(?: ?(?:Z|UTC|GMT)| ?[+-]\d{2}:?\d{2})\Z")
WHOLE, FEWEST = "%Y%m%d", 10  # dates as whole numbers, and how many there must be
SPAN = re.compile(r"-?\d+ days?(?: [+-]?\d\d:\d\d:\d\d(?:\.\d{3,9})?)?")  # as pandas writes spans of time
LIKE = re.compile(r"[A-Za-z]{3,9}[ -]\d{2,4}|(?=.*\d.*[-/.: ,]+.*\d)[\dA-Za-z/.:, +-]{4,35}")


def format_of(words: pd.Series) -> str | None:
    """The format in which all words are dates or times of day, so that they come back letter for letter; None where
    there is none. A month, a day or an hour of one digit is written with a hyphen, as `%-d`."""
    values = words.astype(object).to_numpy()
    first = values[:LOOKED_AT]
    if not len(first) or not all(isinstance(v, str) and LIKE.fullmatch(v) for v in first):
        return None
    zone = OFFSET.search(values[0])
    end = zone[0] if zone and all(v.endswith(zone[0]) for v in first) else ""
    every = None
    for form in FORMATS:
        for written in _spelled(form):
            if _written(first, written + end):
                every = pd.unique(values) if every is None else every
                if _written(every, written + end):
                    return written + end
    return None


def _spelled(form: str) -> list[str]:
    """A format with leading zeros, and without them in its day, in its hour, or in both."""
    found = [form]
    for parts in (("%m", "%d"), ("%H", "%I"), ("%m", "%d", "%H", "%I")):
        short = form
        for part in parts:
            short = short.replace(part, "%-" + part[1])
        found += [short] if short not in found else []
    return found


def plain_format(form: str | None) -> str | None:
    """A format as it is read: digits are read with and without leading zeros."""
    return None if form is None else form.replace("%-", "%")


def _written(words: np.ndarray, form: str) -> bool:
    found = pd.to_datetime(pd.Series(words[:1], dtype=object), format=plain_format(form), errors="coerce")
    if found.isna().any():
        return False
    found = pd.to_datetime(pd.Series(words, dtype=object), format=plain_format(form), errors="coerce")
    return bool(found.notna().all()) and bool((in_words(found, form).to_numpy(object) == words).all())


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


def mixed_dates(words: pd.Series) -> tuple[pd.Series, str] | None:
    """Words as dates that are in several formats, or in one that does not come back letter for letter, and a note on
    them; None where some are no dates. Day and month are in the order that all allow."""
    if words.str.fullmatch(ISO).all():
        found = pd.to_datetime(words, format="ISO8601", errors="coerce", utc=True)
        zones = words.str.contains(OFFSET).any()
        if found.notna().all():
            return (
                (found, "times with offsets, read as UTC") if zones else (found.dt.tz_localize(None), "read as dates")
            )
    left, parts = words, list[pd.Series]()
    used: list[str] = []
    for form in (f for f in FORMATS if "%Y" in f and "%d" in f):
        if not len(left) or len(used) > SEVERAL:
            break
        found = pd.to_datetime(left, format=plain_format(form), errors="coerce")
        good = found.notna()
        if form[:3] in ("%d/", "%m/") and not good.all() and left[~good].str.match(r"\d{1,2}/").any():
            continue  # another order of day and month
        if good.any():
            parts.append(found[good])
            used.append(form)
            left = left[~good]
    if len(left) or len(used) < 2:
        return None
    return pd.concat(parts).loc[words.index], f"dates in the formats {', '.join(used)}, read as dates"


def whole_dates(values: pd.Series) -> bool:
    """Whether all numbers are whole and dates, such as 20200131."""
    if len(values) < FEWEST or not pd.api.types.is_numeric_dtype(values.dtype) or values.dtype.kind not in "iuf":
        return False
    x = values.to_numpy(np.float64, na_value=np.nan)
    if not (x.min() >= 19000101 and x.max() <= 21001231):
        return False
    x = np.unique(x)
    if (x % 1 != 0).any() or len(x) < 3:
        return False
    return bool(pd.to_datetime(digits(pd.Series(x)), format=WHOLE, errors="coerce").notna().all())


def digits(values: pd.Series) -> pd.Series:
    """Whole numbers as words, None where there is none."""
    x = values.to_numpy(np.float64, na_value=np.nan)
    return pd.Series([f"{v:.0f}" if v % 1 == 0 else None for v in x.tolist()], index=values.index, dtype=object)


def spans(words: pd.Series) -> bool:
    """Whether all words are spans of time, such as "3 days 04:00:00", that come back letter for letter."""
    values = words.astype(object).to_numpy()
    if not len(values) or not all(isinstance(v, str) and SPAN.fullmatch(v) for v in values):
        return False
    return [str(v) for v in pd.to_timedelta(pd.Series(values), errors="coerce")] == values.tolist()


def instants(
    column: pd.Series, form: str | None, unit: str | None = None, *, span: bool = False
) -> tuple[np.ndarray, str]:
    """Dates, or spans of time, as int64 in a unit ("us", "ns" where they need it, "M" of months), and the unit; the
    least integer for what is none."""
    if span or pd.api.types.is_timedelta64_dtype(column.dtype):
        lengths: Any = pd.to_timedelta(column, errors="coerce")
        unit = unit or ("ns" if (lengths.dropna().dt.nanoseconds % 1000 != 0).any() else "us")
        return lengths.to_numpy().astype(f"timedelta64[{unit}]").astype(np.int64), unit
    if form == WHOLE and pd.api.types.is_numeric_dtype(column.dtype):
        column = digits(column)
    moments: Any = pd.to_datetime(column, format=plain_format(form), errors="coerce", utc=True)
    if unit is None and form in MONTHS:
        unit = "M"
    if unit is None:
        unit = "us"
        if moments.dtype.unit == "ns" and (moments.dropna().dt.nanosecond % 1000 != 0).any():
            unit = "ns"
    return moments.dt.tz_localize(None).to_numpy().astype(f"datetime64[{unit}]").astype(np.int64), unit


def restored_dates(moments: np.ndarray, lacking: np.ndarray, about: Mapping[str, Any], dtype: Any) -> Any:
    """Dates or spans of time from whole numbers of their unit, in their own type or words."""
    if about.get("span"):
        lengths = pd.Series(moments.astype(f"timedelta64[{about.get('unit', 'ns')}]"))
        lengths[lacking] = pd.NaT
        if not about.get("format"):
            return lengths.astype(dtype)
        return lengths.map(str).astype(object).where(lengths.notna(), None).astype(dtype)
    found = pd.Series(moments.astype(f"datetime64[{about.get('unit', 'ns')}]"))
    if about.get("format"):
        words = in_words(found, about["format"]).astype(object)
        words[lacking] = None
        plain = about["format"] == WHOLE and dtype not in ("object", "str", "string")
        return pd.to_numeric(words).astype(dtype) if plain else words.astype(dtype)
    found[lacking] = pd.NaT
    if not dtype.startswith("datetime64") or "," not in dtype:
        return found.astype(dtype)
    return found.dt.tz_localize("UTC").astype(dtype)
