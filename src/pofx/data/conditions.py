"""Conditions as items, whatever a user gives.

"label", columns of the table itself, or something beside the items, one for each: labels, rows of mixed types, texts,
images, signals, or several of these as parts of one condition. Columns are taken out of the table before it is checked.
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
from pofx.data.numbers import from_tensor
from pofx.data.several import Several

LABEL = "label"
MOST_PARTS = 64  # of a condition
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
    own = _own(items)
    if isinstance(condition, str) and condition in own and not kind_of(items).columnar:
        return replace(items, condition=own[condition])
    if of_parts(condition, items):
        return replace(items, condition=_parts(items, condition, name))
    columns = columns_of(condition)
    frame = kind_of(items).columns(items.values) if columns is not None else None
    if columns is not None and (frame is not None or isinstance(condition, str)):
        if frame is None:
            what = f"no columns and arrays called {', '.join(columns)}" if any(columns) else "no column without a name"
            there = " or ".join(f"condition='{known}'" for known in (LABEL, *own))
            raise UsageError(f"{name} has {what}: pass {there}, or the conditions themselves")
        if all(c in frame.columns for c in columns) or isinstance(condition, str):
            raise UsageError(
                f"columns {', '.join(columns)} are part of the items by now: pass the DataFrame or the file with them"
            )
    given = as_items(condition)
    if len(given) != len(items):
        raise DataError(f"condition must have one item for each of {name}, {len(items)} (got {len(given)})")
    return replace(items, condition=given)


def of_parts(condition: Any, items: Items) -> bool:
    """Whether a condition is several things beside each other, for all items, and not one thing for each item."""
    if isinstance(condition, Several) or not isinstance(condition, Mapping | list | tuple):
        return False
    parts = list(condition.values()) if isinstance(condition, Mapping) else list(condition)
    if not parts or len(parts) > MOST_PARTS:
        return False
    if isinstance(condition, Mapping):
        return any(_is_part(v) or (isinstance(v, str) and v == LABEL) for v in parts)
    if all(isinstance(v, str) for v in parts):
        few = 1 < len(parts) and len(parts) != len(items) and not kind_of(items).columnar
        return few and set(parts) <= {LABEL, *_own(items)}
    return any(_is_part(v) for v in parts) and all(_is_part(v) or isinstance(v, str) for v in parts)


def _is_part(value: Any) -> bool:
    """Whether a value holds one thing for each item, and is no thing itself."""
    return isinstance(value, Items | pd.DataFrame | pd.Series) or (hasattr(value, "ndim") and value.ndim > 1)


def _own(items: Items) -> dict[str, Items]:
    """What belongs to items already, by name: the parts of their condition, or it by its kind."""
    if items.condition is None:
        return {}
    values = items.condition.values
    return dict(values.parts) if isinstance(values, Several) else {items.condition.kind: items.condition}


def _parts(items: Items, condition: Any, name: str) -> Items:
    """Several parts as one condition; those of a list are named by what they are."""
    if not isinstance(condition, Mapping):
        given: dict[str, Any] = {}
        for value in condition:
            key = value if isinstance(value, str) else _name(value)
            if key in given:
                raise UsageError(f"two parts of the condition are called {key}: give a mapping, {{'name': part, …}}")
            given[key] = value
        condition = given
    found, own = {}, _own(items)
    for key, value in condition.items():
        if isinstance(value, str):
            if value != LABEL and value not in own:
                raise unknown(f"part of the condition of {name}", value, [LABEL, *own])
            found[str(key)] = of_labels(items, name) if value == LABEL else own[value]
        else:
            found[str(key)] = as_items(value)
        if len(found[str(key)]) != len(items):
            raise DataError(
                f"{key} of the condition must have one item for each of {name}, {len(items)} "
                f"(got {len(found[str(key)])})"
            )
    stated = all(isinstance(v, str) and k == v for k, v in condition.items())
    return Items("several", Several(found), facts={"columns": list(condition)} if stated else {})


def _name(value: Any) -> str:
    if isinstance(value, pd.Series) and value.name is not None:
        return str(value.name)
    return as_items(value).kind


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


def once_each(names: Sequence[str]) -> list[str]:
    """Names of parts of a condition.

    Raises:
        UsageError: an empty name, or the same one twice.
    """
    twice = next((name for i, name in enumerate(names) if not name or name in names[:i]), None)
    if twice is not None:
        what = f"'{twice}' twice" if twice else "an empty name"
        raise UsageError(f"the condition must name each part once (got {what} in '{','.join(names)}')")
    return list(names)


def split_columns(frame: pd.DataFrame, condition: Any, name: str) -> tuple[pd.DataFrame, Items | None]:
    """A table without the columns of its condition, and these as items; (the table, None) if it names none.

    Raises:
        UsageError: no such column, or nothing left to model.
    """
    columns = columns_of(condition)
    if columns is None or (len(columns) == len(frame) and not set(columns) <= set(map(str, frame.columns))):
        return frame, None  # names of columns are few; as many texts as rows are conditions themselves
    frame = frame.rename(columns=str)
    for column in once_each(columns):
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
        if frame is None or kind_of(value).labels or isinstance(value.values, Several):
            return value
        return _rows_and_texts(frame)
    if isinstance(value, Several):
        return Items("several", value)
    if isinstance(value, pd.DataFrame):
        return column(value.iloc[:, 0]) if value.shape[1] == 1 else _rows_and_texts(value)
    if isinstance(value, pd.Series):
        return column(value)
    if isinstance(value, Mapping):
        if any(_is_part(v) for v in value.values()):
            return Items("several", Several({str(key): as_items(part) for key, part in value.items()}))
        return as_items(pd.DataFrame(dict(value)))
    if hasattr(value, "detach"):
        value = from_tensor(value)
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


def _rows_and_texts(frame: pd.DataFrame) -> Items:
    """Columns side by side: rows of mixed types, and a part for each column of texts."""
    if len(frame) == 0 or frame.rename(columns=str).columns.duplicated().any():
        return rows(frame)
    texts = [name for name in frame.columns if _text(frame[name])]
    if not texts:
        return rows(frame)
    parts = {str(name): column(frame[name]) for name in texts}
    rest = frame.drop(columns=texts)
    if rest.shape[1]:
        parts[str(rest.columns[0]) if rest.shape[1] == 1 else "table"] = as_items(rest)
    return Items("several", Several(parts), facts={"columns": [str(c) for c in frame.columns]})


def _text(values: pd.Series) -> bool:
    """Whether a column holds texts: mostly different words, all of them there."""
    known = values.dropna()
    words = all(isinstance(v, str | bytes) for v in known)
    return words and len(known) == len(values) and known.nunique() > max(2, len(values) // 2)


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
    if _text(values):
        texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]
        return Items("text", texts, facts={"columns": [name]} if name else {})
    few = pd.api.types.is_integer_dtype(values.dtype) and known.nunique() <= FEW
    if (words or truth or few) and len(known) == len(values):
        codes, names = encode_labels(values.to_numpy(), len(values), name or "the condition")
        dtype = "str" if words else "bool" if truth else "int64"
        return named_labels(np.array(names, dtype=object)[codes], names, dtype, name)
    return rows(values.to_frame(name or "condition"))
