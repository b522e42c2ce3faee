"""Which columns of a table are modelled: those that a user chooses, without ids and free text, which name items."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.options import once
from pofx.data.dates import instants
from pofx.data.schema import LEFT_OUT, Schema

MARKS = (-9.0, -99.0, -999.0, -9999.0, -99999.0, 99.0, 999.0, 9999.0, 99999.0, -99.9, -999.9, 99.9, 999.9)
DIFFERENT = 5  # other values that a column has at least where its mark is none of these
BEYOND = 1000  # ranges of all other values beyond which any number may mark missing ones, such as 1e20 or 2147483647
FEW_WORDS = 0.1  # share of words up to which a column is one of numbers with strays

Columns = str | int | list[str | int]  # names: several, or a text with commas between them; 2019 is a name too


def listed(value: Columns | None) -> list[str]:
    """Names of columns, in their order."""
    value = str(value) if isinstance(value, int) else value
    parts = value.split(",") if isinstance(value, str) else [] if value is None else list(value)
    return [str(part).strip() for part in parts]


def types_of(value: Any) -> dict[str, Any]:
    """Stated types of columns: a mapping, or a text as zip=category,day=date."""
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",")]
        if not all(sign and key.strip() for key, sign, _ in pairs):
            raise UsageError(f"schema must be written column=type,… (got '{value}'): write zip=category,day=date")
        return once(((key.strip(), kind.strip()) for key, _, kind in pairs), "the type of column")
    return {str(key): kind for key, kind in dict(value or {}).items()}


def selected(frame: pd.DataFrame, columns: Any, drop: Any, name: str) -> pd.DataFrame:
    """The table with the chosen columns alone, in their order, or without the dropped ones.

    Raises:
        UsageError: a column that the table does not have.
        DataError: no column is left.
    """
    chosen, dropped = listed(columns), listed(drop)
    if not chosen and not dropped:
        return frame
    frame = frame.rename(columns=str)
    for column in (*chosen, *dropped):
        if column not in frame.columns:
            raise unknown(f"column of {name}", column, frame.columns)
    frame = frame[[c for c in (chosen or frame.columns) if c not in dropped]]
    if frame.shape[1] == 0:
        raise DataError(f"{name} has no column left: drop fewer")
    return frame


def strays(column: pd.Series) -> str:
    """What a column of words holds, for the person who must mend it: the few words among numbers, or an example."""
    known = column[column.notna()]
    found = pd.to_numeric(known, errors="coerce")
    words = known[found.isna().to_numpy()]
    if len(words) and len(words) <= FEW_WORDS * len(known):
        return (
            f"; all but {len(words):,} of its values are numbers, mend these (row {words.index[0]}: {words.iloc[0]!r})"
        )
    return f" (such as {str(known.iloc[0])[:30]!r})" if len(known) else ""


def marks(frame: pd.DataFrame, schema: Schema) -> dict[str, tuple[str, int]]:
    """Columns of numbers or dates with a value that people write for a missing one, far from all others, in several
    rows: the value and how many rows.

    Args:
        schema: of the columns of words and objects, some of which are dates.
    """
    found = {}
    for name in frame.columns:
        column, about = frame[name].dropna(), schema.get(str(name), {})
        date = about.get("type") == "date" or pd.api.types.is_datetime64_any_dtype(column.dtype)
        if not date and (not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
            continue
        x = column.to_numpy(np.float64) if not date else _moments(column, about)
        for end in (x.min(initial=np.inf), x.max(initial=-np.inf)):
            others = x[x != end]
            if len(x) - len(others) < max(3, 0.005 * len(x)) or not len(others):
                continue
            gap, spread = float(np.abs(others - end).min()), max(float(np.ptp(others)), 1.0)
            known = not date and float(end) in MARKS
            if gap > spread * (1 if date or known else BEYOND) and (known or len(np.unique(others)) >= DIFFERENT):
                value = column.iloc[int(np.flatnonzero(x == end)[0])]
                found[str(name)] = str(value) if date else f"{end:g}", len(x) - len(others)
    return found


def _moments(column: pd.Series, about: Mapping[str, Any]) -> np.ndarray:
    return instants(column, about.get("format"), span=bool(about.get("span")))[0].astype(np.float64)


def left_out(schema: Schema, stated: Mapping[str, Any], n: int) -> dict[str, str]:
    """The columns that name items, each with the reason why it is left out."""
    reasons = {}
    for column, about in schema.items():
        if about["type"] in LEFT_OUT:
            kind = "an id" if about["type"] == "id" else "free text"
            seen = f", {about['different']:,} different values in {n:,} rows" if "different" in about else ""
            reasons[column] = f"{'stated to be' if column in stated else 'it seems to be'} {kind}{seen}"
    return reasons


def framed(x: Any) -> pd.DataFrame | None:
    """x where it is a DataFrame, else None: estimators take both it and arrays."""
    return x if isinstance(x, pd.DataFrame) else None
