"""Columns of text as what they mean: numbers, truth values, codes, words (dates among them). Nothing is rounded.

Digits with leading zeros are codes; whole numbers stay exact at any size; decimal commas and thousands are understood;
"NA" is missing among numbers, and a word among words.
"""

import re
import warnings
from datetime import date, time
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError
from pofx.data.amounts import amounts
from pofx.data.dates import format_of, mixed_dates, plain_format, spans
from pofx.data.dialect import MISSING

EXACT = 2**53  # whole numbers up to which float64 is exact
WHOLE = r"[+-]?\d+"
REAL = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
PLAIN = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d+)?")
SPECIAL = r"[+-]?(?:inf|Inf|INF|infinity|Infinity)"
ZERO = r"0000-00-00( 00:00:00(\.0+)?)?"  # of databases, for no date
TRUTH = {"True": True, "False": False, "TRUE": True, "FALSE": False, "true": True, "false": False}


def typed(column: pd.Series, *, decimal: str | None = None, comma: bool = False, tidy: bool = False) -> pd.Series:
    """A column of strings in the type that all of its values have.

    Args:
        decimal: the decimal mark, where it is stated.
        comma: whether a lone comma before three digits is a decimal mark, as it is where fields end in semicolons.
        tidy: whether numbers with a unit and dates in several formats are numbers and dates, with a warning.
    """
    if decimal not in (None, ".", ","):
        raise UsageError(f"decimal must be . or , (got {decimal!r}): pass decimal=,")
    found = _plain(column) if decimal != "," else None
    if found is not None:
        return found
    stripped = column.str.strip()
    missing = stripped.isin(MISSING)
    known = stripped[~missing].drop_duplicates()
    zero = known[known.str.fullmatch(ZERO)]
    if len(zero):
        missing |= stripped.isin(zero)
        known = known.drop(zero.index)
    if len(known) == 0 and len(set(stripped[missing]) - {""}) < 2:  # "NA" and "None" side by side are words
        return pd.Series(np.full(len(column), np.nan), name=column.name)
    number = _numbers(known, decimal, comma) if len(known) else None
    if number is not None:
        return _filled(number, stripped, missing)
    if len(known) and known.isin(TRUTH).all():
        flags = stripped.map(TRUTH)
        return flags.astype(bool) if not missing.any() else flags.where(~missing, None).astype(object)
    if tidy and len(known) and format_of(known) is None:
        found = _amounts(known, decimal, comma, str(column.name))
        if found is not None:
            return _filled(found, stripped, missing | ~stripped.isin(set(known.loc[found.index])))
        dates = mixed_dates(known)
        if dates is not None:
            warnings.warn(f"column {column.name}: {dates[1]}", UserWarning, stacklevel=4)
            moments = dict(zip(known, dates[0], strict=True))
            return pd.Series(pd.to_datetime(stripped.map(moments)), name=column.name)
    written = column[~missing]
    first = written.iloc[:20].str.startswith(" ").all()
    spaced = len(written) > 0 and bool(first and written.str.startswith(" ").all())  # "a, b" has two separators
    dated = format_of(known) is not None or spans(known)  # of dates "NA" is no word
    words = stripped.where(~missing) if dated else (stripped if spaced else column).where(stripped != "")
    return words.astype(object).where(words.notna(), None).astype("str" if words.notna().all() else object)


def _plain(column: pd.Series) -> pd.Series | None:
    """A column of nothing but numbers, as most are, without a look at what else it may be; None where it is another."""
    codes, texts = pd.factorize(column.to_numpy(dtype=object))
    if not len(texts) or not all(isinstance(v, str) and PLAIN.fullmatch(v) for v in texts):
        return None
    values = pd.to_numeric(texts)
    return pd.Series(values[codes], name=column.name)


def _amounts(known: pd.Series, decimal: str | None, comma: bool, name: str) -> pd.Series | None:
    """The values of different texts with a unit, with a warning; or None."""
    found = amounts(known)
    number = None if found is None else _numbers(found.plain, decimal, comma)
    if found is None or number is None:
        return None
    if (found.scale != 1.0).any():
        number = number * found.scale
    what = f" in {found.unit}" if found.unit else ""
    lost = f", {', '.join(repr(w) for w in found.words)} as missing" if found.words else ""
    if what or lost:
        warnings.warn(
            f"column {name} is read as numbers{what}{lost}; tidy=false leaves words", UserWarning, stacklevel=5
        )
    return number


def to_numbers(column: pd.Series, name: str) -> np.ndarray:
    """A column as float64, NaN where a value is missing; a word is refused, for it would be missing without a note.

    Raises:
        DataError: a value that is no number.
    """
    found = pd.to_numeric(column, errors="coerce")
    return _none_lost(column, found, name, "number").to_numpy(np.float64, na_value=np.nan)


def to_dates(column: pd.Series, name: str) -> pd.Series:
    """A column as dates in UTC, NaT where a value is missing.

    Raises:
        DataError: a value that is no date.
    """
    form = None if pd.api.types.is_datetime64_any_dtype(column.dtype) else plain_format(format_of(column.dropna()))
    mixed = None if pd.api.types.is_datetime64_any_dtype(column.dtype) else "mixed"
    return _none_lost(column, pd.to_datetime(column, errors="coerce", utc=True, format=form or mixed), name, "date")


def _none_lost(column: pd.Series, found: Any, name: str, what: str) -> Any:
    lost = np.asarray(found.isna() & column.notna())
    if lost.any() and not pd.api.types.is_numeric_dtype(column.dtype):
        lost = lost & ~column.astype(str).str.strip().isin(MISSING).to_numpy()
        if lost.any():
            row = int(np.flatnonzero(lost)[0])
            raise DataError(
                f"column {name} is missing or no {what} in row {row} (got {column.iloc[row]!r}): mend it, leave it "
                "empty, or state another type"
            )
    return found


def of_objects(column: pd.Series) -> pd.Series | None:
    """A column of Python's objects, or of Arrow's, in a type that is modelled; None where there is none.

    Dates become dates of numpy, times of day their words, decimals float64, whole numbers stay exact, bytes are text;
    lists, periods and other objects have no such type.

    Raises:
        DataError: whole numbers of more than 64 bits.
    """
    if isinstance(column.dtype, pd.ArrowDtype) and column.dtype.kind in "OMm":
        column = column.astype(object) if column.dtype.type is not str else column
    if column.dtype != object:
        return column
    known = column[column.notna()]
    types = {type(v) for v in known}
    if types and all(issubclass(t, date | np.datetime64) for t in types):
        try:
            return pd.Series(pd.to_datetime(column), index=column.index)
        except ValueError:
            return None  # time zones that differ
    if types == {time}:
        short = not any(v.second or v.microsecond for v in known)
        return column.map(lambda v: v.isoformat("minutes" if short else "auto"), na_action="ignore")
    if Decimal in types and types <= {Decimal, int, float}:
        return column.astype(np.float64)
    if types and all(issubclass(t, int | np.integer) and t is not bool for t in types):
        low, high = min(map(int, known)), max(map(int, known))
        if low < -(2**63) or high >= 2**64 or (low < 0 and high >= 2**63):
            far = high if high >= 2**63 else low
            raise DataError(
                f"column {column.name} holds whole numbers of more than 64 bits (got {far}): drop it, or make it text"
            )
        if max(-low, high) <= EXACT or len(known) == len(column):
            return column
        exact = [None if gone else int(v) for v, gone in zip(column, column.isna(), strict=True)]
        return pd.Series(pd.array(exact, dtype="Int64" if high < 2**63 else "UInt64"), index=column.index)
    if bytes in types:
        column = column.map(lambda v: v.decode("utf-8", "replace") if isinstance(v, bytes) else v)
    plain = str | bytes | bool | int | float | np.generic
    return column if all(issubclass(t, plain) for t in types) else None


def type_name(column: pd.Series) -> str:
    """What the values of a column are, in a word: the type of the column, or of its objects."""
    if column.dtype != object:
        return str(column.dtype)
    return ", ".join(sorted({type(v).__name__ for v in column.dropna().head(100)})[:3])


def _numbers(known: pd.Series, decimal: str | None, comma: bool) -> pd.Series | None:
    """The values of different texts, or None where they are no numbers."""
    if _all(known, WHOLE):
        codes = known.str.fullmatch(r"[+-]?0\d+")
        if codes.any():
            return None  # 007 is a code
        return _whole(known)
    if decimal != "," and _all(known, f"{REAL}|{SPECIAL}"):
        if known.str.fullmatch(r"0\d+").any() and known.str.fullmatch(r"\d+").mean() > 0.5:
            return None
        return pd.to_numeric(known)
    for mark, groups in _marks(known, decimal, comma):
        grouped = rf"[+-]?\d{{1,3}}(?:[{groups}]\d{{3}})+(?:{re.escape(mark)}\d*)?" if groups else ""
        plain = rf"[+-]?(?:\d+(?:{re.escape(mark)}\d*)?|{re.escape(mark)}\d+)(?:[eE][+-]?\d+)?"
        if _all(known, f"{plain}|{grouped}" if groups else plain):
            text = known.str.replace(rf"[{groups}]", "", regex=True) if groups else known
            text = text.str.replace(mark, ".", regex=False)
            return _whole(text) if _all(text, WHOLE) else pd.to_numeric(text)
    return None


def _marks(known: pd.Series, decimal: str | None, comma: bool) -> list[tuple[str, str]]:
    """Decimal marks with the separators of thousands beside them, the likelier first."""
    spaces = " '\u00a0\u202f\u2019"
    point, european = (".", f",{spaces}"), (",", f".{spaces}")
    if decimal is not None:
        return [point] if decimal == "." else [european]
    one_comma = known.str.count(",").max() <= 1 and not known.str.contains(".", regex=False).any()
    return [european, point] if comma or not one_comma and _all(known, r"[^,]*(?:,\d*)?") else [point, european]


def _whole(known: pd.Series) -> pd.Series | None:
    """Whole numbers exactly: int64, uint64, or None (they stay text) where neither holds them."""
    values = [int(v) for v in known]
    low, high = min(values), max(values)
    if low >= -(2**63) and high < 2**63:
        return pd.Series(np.array(values, dtype=np.int64), index=known.index)
    if low >= 0 and high < 2**64:
        return pd.Series(np.array(values, dtype=np.uint64), index=known.index)
    return None


def _filled(number: pd.Series, stripped: pd.Series, missing: pd.Series) -> pd.Series:
    """The values of all rows from those of different texts."""
    texts = stripped.loc[number.index]
    table = pd.Series(number.to_numpy(), index=texts.to_numpy())
    if not missing.any():
        return pd.Series(table.loc[stripped.to_numpy()].to_numpy(), name=stripped.name)
    large = number.dtype.kind in "iu" and (number.abs() if number.dtype.kind == "i" else number).max() > EXACT
    found = pd.Series(table.reindex(stripped.where(~missing).to_numpy()).to_numpy(), name=stripped.name)
    if large:
        exact: Any = [None if gone else int(table.loc[text]) for text, gone in zip(stripped, missing, strict=True)]
        return pd.Series(pd.array(exact, dtype="Int64" if number.dtype.kind == "i" else "UInt64"), name=stripped.name)
    return found


def _all(values: pd.Series, pattern: str) -> bool:
    return bool(values.str.fullmatch(pattern).all())
