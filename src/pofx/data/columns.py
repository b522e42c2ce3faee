"""Which columns of a table are modelled: those that a user chooses, without ids and free text, which name items."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.options import once
from pofx.data.schema import LEFT_OUT, Schema

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
