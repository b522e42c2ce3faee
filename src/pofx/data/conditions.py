"""Conditions as items, whatever a user gives.

"label", columns of the table itself, or something beside the items, one for each: labels, rows of mixed types, texts,
images, signals. Columns are taken out of the table before it is checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.items import Items
from pofx.data.kind import kind_of, kinds
from pofx.data.labels import encode_labels

LABEL = "label"
FEW = 20  # different whole numbers up to which a column of them is one of labels


def conditioned(items: Items, condition: Any, name: str = "the data") -> Items:
    """Items with their condition: "label", or what is beside them, one for each.

    Raises:
        UsageError: there are no labels, or no such columns.
        DataError: another number of conditions than of items, or conditions that cannot be read.
    """
    if condition is None:
        return items
    if isinstance(condition, str) and condition == LABEL:
        return replace(items, condition=of_labels(items, name))
    columns = columns_of(condition)
    frame = kind_of(items).columns(items.values) if columns is not None else None
    if columns is not None and (frame is not None or isinstance(condition, str)):
        if frame is None:
            raise UsageError(f"{name} has no columns: pass condition='label', or the conditions themselves")
        if all(c in frame.columns for c in columns) or isinstance(condition, str):
            raise UsageError(
                f"columns {', '.join(columns)} are part of the items by now: pass the DataFrame or the file with them"
            )
    given = as_items(condition)
    if len(given) != len(items):
        raise DataError(f"condition must have one item for each of {name}, {len(items)} (got {len(given)})")
    return replace(items, condition=given)


def of_labels(items: Items, name: str) -> Items:
    """The labels of items as their condition: by name, or signals as they are."""
    if items.labels is None:
        raise UsageError(f"{name} has no labels: train without a condition, or name a column")
    labels = np.asarray(items.labels)
    if labels.dtype.kind == "f":
        return Items("signal", labels.astype(np.float32))
    names = items.facts.get("label_names") or [str(k) for k in range(int(labels.max()) + 1)]
    return named_labels(np.array([str(n) for n in names], dtype=object)[labels], [str(n) for n in names])


def named_labels(values: np.ndarray, names: Sequence[str], dtype: str | None = None, column: str = "") -> Items:
    """Labels by name as items; classes that do not occur are left out."""
    there = set(values)
    occurring = [name for name in names if name in there]
    facts: dict[str, Any] = {"label_names": occurring, "dtype": dtype or type_of(occurring)}
    if column:
        facts |= {"column": column, "columns": [column]}
    return Items("label", np.asarray(values, dtype=object), facts=facts)


def type_of(names: Sequence[str]) -> str:
    """The type of labels that are called so: "int64", "bool" or "str"."""
    if set(names) <= {"True", "False"}:
        return "bool"
    return "int64" if all(_whole(name) for name in names) else "str"


def _whole(name: str) -> bool:
    digits = name[1:] if name.startswith("-") else name
    return digits.isascii() and digits.isdigit() and str(int(name)) == name and abs(int(name)) < 2**63


def columns_of(condition: Any) -> list[str] | None:
    """The columns that a condition names, or None where it is no name and no list of names."""
    if isinstance(condition, str):
        return None if condition == LABEL else [condition]
    if isinstance(condition, list | tuple) and condition and all(isinstance(c, str) for c in condition):
        return list(condition)
    return None


def split_columns(frame: pd.DataFrame, condition: Any, name: str) -> tuple[pd.DataFrame, Items | None]:
    """A table without the columns of its condition, and these as items; (the table, None) if it names none.

    Raises:
        UsageError: no such column, or nothing left to model.
    """
    columns = columns_of(condition)
    if columns is None or (len(columns) == len(frame) and not set(columns) <= set(map(str, frame.columns))):
        return frame, None  # names of columns are few; as many texts as rows are conditions themselves
    frame = frame.rename(columns=str)
    for column in columns:
        if column not in frame.columns:
            raise unknown(f"column of {name}", column, frame.columns)
    rest = frame.drop(columns=columns)
    if rest.shape[1] == 0:
        raise UsageError(f"condition names every column of {name}: leave at least one to model")
    return rest, as_items(frame[columns])


def as_items(value: Any) -> Items:
    """Conditions as items of a kind.

    Items stay what they are, tables and points are rows. A DataFrame is rows, of a single column what that is: labels
    (words, truth values, few whole numbers), texts (mostly different words) or numbers. So are Series and lists. A
    float array (n, d) is rows, (n, channels, frames) signals.

    Raises:
        DataError: empty, or of an unknown type.
    """
    if isinstance(value, Items):
        frame = kind_of(value).columns(value.values)
        return value if frame is None else rows(frame)
    if isinstance(value, pd.DataFrame):
        return column(value.iloc[:, 0]) if value.shape[1] == 1 else rows(value)
    if isinstance(value, pd.Series):
        return column(value)
    if isinstance(value, Mapping):
        return as_items(pd.DataFrame(dict(value)))
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = np.asarray(value) if not isinstance(value, str | bytes) else np.asarray([])
    if array.size == 0:
        raise DataError(f"condition must be one value, row, text or image for each item (got {type(value).__name__})")
    if array.ndim == 1:
        return column(pd.Series(list(value) if array.dtype.kind in "OU" else array))
    if array.ndim == 2 and array.dtype.kind in "iufb":
        return rows(pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])]))
    if array.ndim == 3 and array.dtype.kind == "f":
        return Items("signal", array.astype(np.float32))
    for kind in kinds().values():
        found = kind.of_array(array, None, "condition", {}) if array.dtype != object else None
        if found is not None:
            return found
    raise DataError(f"condition of shape {array.shape} does not state its type: wrap it in pofx.images, pofx.texts …")


def rows(frame: pd.DataFrame) -> Items:
    """A DataFrame of mixed types as items."""
    if frame.shape[0] == 0 or frame.shape[1] == 0:
        raise DataError(f"the condition is empty ({frame.shape[0]} rows, {frame.shape[1]} columns)")
    frame = frame.rename(columns=str).reset_index(drop=True)
    if frame.columns.duplicated().any():
        raise DataError(f"the condition has columns of the same name: {frame.columns[frame.columns.duplicated()][0]}")
    return Items("table", frame, facts={"columns": list(frame.columns)})


def column(values: pd.Series) -> Items:
    """One column of a condition: labels, texts, or rows of one number or date."""
    name = "" if values.name is None else str(values.name)
    values = values.reset_index(drop=True)
    known = values.dropna()
    if len(known) == 0:
        raise DataError("the condition has no values: give one for each item")
    words = all(isinstance(v, str | bytes) for v in known)
    truth = all(isinstance(v, bool | np.bool_) for v in known)
    if words and known.nunique() > max(2, len(values) // 2) and len(known) == len(values):
        texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]
        return Items("text", texts, facts={"columns": [name]} if name else {})
    few = pd.api.types.is_integer_dtype(values.dtype) and known.nunique() <= FEW
    if (words or truth or few) and len(known) == len(values):
        codes, names = encode_labels(values.to_numpy(), len(values), name or "the condition")
        dtype = "str" if words else "bool" if truth else "int64"
        return named_labels(np.array(names, dtype=object)[codes], names, dtype, name)
    return rows(values.to_frame(name or "condition"))
