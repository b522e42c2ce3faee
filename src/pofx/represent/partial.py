"""Rows of which some columns are known, as the tables' views see them: raw numbers, and which of them are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pofx.core.errors import DataError, unknown
from pofx.data.kinds.table import check_table
from pofx.data.schema import numbers

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
    frame = given if isinstance(given, pd.DataFrame) else pd.DataFrame([dict(given)])
    frame = frame.rename(columns=str)
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
