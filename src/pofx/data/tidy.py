"""Rows of a text table that are no items: units below the header, headers that come again, totals, notes.

Spreadsheets hold them for readers. Each that is left out is named in a warning; `tidy=false` leaves all where they are.
"""

import re
import warnings

import pandas as pd

from pofx.data.dialect import MISSING, NUMBER

TOTAL = re.compile(
    r"(grand |sub)?totals?( général)?|sum|summe|gesamt(summe)?|insgesamt|somme|suma|totale|averages?|mean|durchschnitt|"
    r"mittelwert|moyenne|promedio|all",
    re.IGNORECASE,
)
NOTE = re.compile(r"([*†©]|\(?(sources?|notes?|footnotes?|copyright|quelle|anmerkung)\b).*", re.IGNORECASE | re.DOTALL)
NO_NUMBERS = ("inf", "infinity", "nan")  # of a computer, which are values and no unit
UNITS = re.compile(r"[\[(].*[\])]|[%‰°€$£]|[^\W\d_°%]{0,3}[/°²³^µ%].*|[a-zA-Zµ]{1,3}")
LOOKED_AT, FEWEST = 200, 3  # rows by which a column is one of numbers, at most and at least
SHOWN = 40  # characters


def without_notes(raw: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of texts, NaN where a line was too short, without those that are no items."""
    raw = _without_headers(raw, name)
    raw = _without_end(raw, name)
    return _without_units(raw, name)


def _without_headers(raw: pd.DataFrame, name: str) -> pd.DataFrame:
    names = [str(c).strip() for c in raw.columns]
    again = pd.Series(True, index=raw.index)
    for k, column in enumerate(raw.columns):
        again &= raw[column].astype(object).map(lambda v: v.strip() if isinstance(v, str) else "") == names[k]
    if len(names) < 2 or not again.any() or again.all():
        return raw
    _warn(name, f"{int(again.sum())} rows repeat the header: left out")
    return raw[~again].reset_index(drop=True)


def _without_end(raw: pd.DataFrame, name: str) -> pd.DataFrame:
    """Without notes and totals below the last row."""
    if raw.shape[1] < 2:
        return raw
    first = raw.iloc[:, 0]
    numbers = _numeric(first)
    end = len(raw)
    while end > 1:
        row = raw.iloc[end - 1]
        fields = [v.strip() for v in row if isinstance(v, str) and v.strip()]
        lead = fields[0] if fields else ""
        alone = len(fields) == 1 and isinstance(row.iloc[0], str) and bool(row.iloc[0].strip())
        word = not NUMBER.match(lead) and lead not in MISSING
        short = alone and bool(row.iloc[1:].isna().all())  # a line without separators
        note = alone and word and (bool(NOTE.fullmatch(lead)) or (short and (numbers or raw.shape[1] > 2)))
        total = bool(TOTAL.fullmatch(lead.rstrip(": "))) and (first == row.iloc[0]).sum() <= 1
        if fields and not note and not total:
            break
        end -= 1
    if end == len(raw) or end < FEWEST:
        return raw
    left = [next((v for v in raw.iloc[i] if isinstance(v, str) and v.strip()), "") for i in range(end, len(raw))]
    _warn(name, f"notes or totals below the rows ({_short(left)}): left out")
    return raw.iloc[:end].reset_index(drop=True)


def _without_units(raw: pd.DataFrame, name: str) -> pd.DataFrame:
    """Without a second line of the header: words or units above columns of numbers."""
    if len(raw) <= FEWEST:
        return raw
    head, below = raw.iloc[0], raw.iloc[1 : LOOKED_AT + 1]
    words = []
    for column in raw.columns:
        field = head[column].strip() if isinstance(head[column], str) else ""
        if field and (NUMBER.match(field) or field.lower().lstrip("+-") in NO_NUMBERS):
            return raw
        if field not in MISSING and _numeric(below[column]):
            words.append(field)
    if not words or (len(words) == 1 and not UNITS.fullmatch(words[0])):
        return raw
    _warn(name, f"the line below the header holds no values ({_short(words)}): left out")
    return raw.iloc[1:].reset_index(drop=True)


def _numeric(column: pd.Series) -> bool:
    """Whether the values of a column are numbers, but for one in twenty."""
    fields = [v.strip() for v in column.iloc[:LOOKED_AT] if isinstance(v, str)]
    fields = [v for v in fields if v not in MISSING]
    return bool(fields) and sum(bool(NUMBER.match(v)) for v in fields) >= 0.95 * len(fields)


def _short(words: list[str]) -> str:
    text = ", ".join(words)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _warn(name: str, what: str) -> None:
    warnings.warn(f"{name}: {what}; tidy=false leaves rows and cells as they are", UserWarning, stacklevel=4)
