"""Rows of which some columns are known, as the tables' views see them: raw numbers, and which of them are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pofx.core.errors import DataError, unknown
from pofx.core.options import short
from pofx.data.kinds.table import check_table
from pofx.data.schema import numbers

ABSENT = "pofx-absent"  # which cells of known rows nobody named, among a frame's attributes
NUMBERS = ("whole", "decimal", "lattice", "levels", "real", "constant")


@dataclass(frozen=True)
class Known:
    """Raw rows float64 (n, columns), and which columns are known: bool (columns,)."""

    raw: Tensor
    columns: Tensor


def known_columns(given: Any, varying: Sequence[str], schema: Mapping[str, Mapping[str, Any]]) -> Known:
    """Known values by column, one row for all or a DataFrame of rows; columns that never vary are checked alone.

    Raises:
        UsageError: a column that the table does not have.
        DataError: a value that cannot occur.
    """
    frame = known_frame(given).rename(columns=str)
    for column in frame.columns:
        if column not in schema:
            raise unknown("known column", column, schema)
    whole = {c: "number" for c in frame.columns if schema[c]["type"] in NUMBERS}
    try:
        rows = check_table(frame, "the known columns", whole)
    except DataError as error:
        raise DataError(f"the known columns cannot occur: {error}") from error
    found, reasons = numbers(rows, {c: schema[c] for c in frame.columns})
    if reasons:
        row, reason = next(iter(reasons.items()))
        raise DataError(f"known row {row} cannot occur: {reason}")
    raw = np.zeros((len(frame), len(varying)))
    known = np.zeros(len(varying), bool)
    for column, x in zip(frame.columns, found.T, strict=True):
        if column in varying:
            raw[:, varying.index(column)], known[varying.index(column)] = x, True
    return Known(torch.from_numpy(raw), torch.from_numpy(known))


def known_frame(given: Any) -> pd.DataFrame:
    """Known columns as rows: a DataFrame, values by column for all rows, lists of values by column, or a mapping of
    columns to values for each row.

    Raises:
        DataError: another thing, or no column.
    """
    if isinstance(given, pd.DataFrame):
        frame = given
    elif isinstance(given, Mapping):
        listed = given and all(isinstance(v, list | tuple | np.ndarray | pd.Series) for v in given.values())
        try:
            frame = pd.DataFrame(dict(given) if listed else [dict(given)])
        except ValueError as error:
            raise DataError(f"the known columns must have a value for each row ({error}): give equal lists") from error
    elif isinstance(given, pd.Series):
        frame = pd.DataFrame([given.to_dict()])
    elif isinstance(given, list | tuple) and given and all(isinstance(row, Mapping | pd.Series) for row in given):
        frame = pd.DataFrame([dict(row) for row in given])
        if any(len(row) < frame.shape[1] for row in given):  # a column that a row does not name is unknown in it
            frame.attrs[ABSENT] = [[c not in row for c in frame.columns] for row in given]
    else:
        raise DataError(f"the known columns must be values by column (got {short(given)}): pass given={{'age': 30}}")
    if not frame.shape[1]:
        raise DataError("the known columns must be at least one (got none): leave given out")
    return frame


def check_range(known: Known, varying: Sequence[str], schema: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse known values that no draw can have, since those stay in the range of the training rows.

    Raises:
        DataError: naming the column, its range and the value.
    """
    for at in np.flatnonzero(known.columns.numpy()).tolist():
        about, x = schema[varying[at]], known.raw[:, at].numpy()
        low, high, unit, start = 0.0, np.inf, 1.0, 0.0
        if about["type"] == "whole":
            start = float(about["offset"])
            low, high = float(about["low"]) - start, float(about["high"]) - start
        elif about["type"] == "lattice":
            unit, start = float(about["step"]), float(about["offset"])
            high = float(np.round((about["high"] - start) / unit))
        elif about["type"] == "date":
            high = float((about["high"] - about["offset"]) // about["step"])
        else:
            continue
        outside = (x < low) | (x > high)
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            what = "a date outside those" if about["type"] == "date" else f"{start + unit * x[row]:g}"
            span = "" if about["type"] == "date" else f" {start + unit * low:g} to {start + unit * high:g}"
            where = f"column {varying[at]} was{span} in training"
            raise DataError(f"known row {row} cannot be drawn: {where} (got {what}): give one of these")
