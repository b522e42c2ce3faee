"""Labels of any type as class numbers and the names of the classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, unknown
from pofx.data.numbers import from_tensor, refuse_masked

_NO_LABELS = (Mapping, list, tuple, set, np.ndarray)  # types of values that name no class


def encode_labels(labels: Any, n: int, name: str) -> tuple[np.ndarray, list[str]]:
    """Labels of any kind as class numbers int64 (n,), and the names of the classes in the order of the numbers."""
    refuse_masked(labels, f"{name}: labels")
    if hasattr(labels, "detach"):
        labels = from_tensor(labels)
    try:
        array = np.asarray(labels)
    except ValueError as error:
        raise DataError(f"{name}: labels must be one class number or name per item ({error}): mend them") from error
    objects = array.flat if array.dtype == object else ()
    other = next((type(v).__name__ for v in objects if isinstance(v, _NO_LABELS)), None)
    if other is not None:
        raise DataError(f"{name}: labels must be class numbers or names (got {other}): leave them out")
    if array.dtype.kind == "S" or (array.dtype == object and any(isinstance(v, bytes) for v in array.flat)):
        plain = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in array.flat]
        array = np.array(plain, dtype=object).reshape(array.shape)
    if array.ndim == 2 and len(array) == n and _one_hot(array):
        return array.argmax(1).astype(np.int64), [str(k) for k in range(array.shape[1])]
    if array.ndim != 1 or len(array) != n:
        raise DataError(
            f"{name} has {n} items but labels of shape {array.shape}: give one label per item, vectors as condition="
        )
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or (array != np.round(array)).any():
            raise DataError(
                f"{name}: labels must be class numbers or names (got fractions or missing values): cut them into "
                "classes (pandas.cut), or leave the column among the others"
            )
        array = array.astype(np.int64)
    if array.dtype == object and any(v is None or v != v for v in array):
        raise DataError(f"{name}: some labels are missing: drop those rows or name the missing class")
    if np.issubdtype(array.dtype, np.integer) and array.min() >= 0 and array.max() < max(2 * len(np.unique(array)), 16):
        return array.astype(np.int64), [str(k) for k in range(int(array.max()) + 1)]
    names, codes = np.unique(array.astype(str) if array.dtype == object else array, return_inverse=True)
    if len(names) > max(2, n // 2):
        raise DataError(f"{name}: {len(names)} different labels for {n} items: labels name classes, not items")
    return codes.astype(np.int64), [str(v) for v in names]


def _one_hot(array: np.ndarray) -> bool:
    """Whether each row is one 1 among zeros: a class by its position."""
    if array.dtype.kind not in "iufb" or array.shape[1] < 2:
        return False
    return bool(((array == 0) | (array == 1)).all() and (array.sum(1) == 1).all())


def with_labels(labels: Any, n: int, name: str, facts: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Class numbers, and the facts with the names of the classes; (None, facts) without labels."""
    if labels is None:
        return None, facts
    codes, names = encode_labels(labels, n, name)
    return codes, {**facts, "label_names": names}


def truth_values(column: pd.Series, name: str) -> np.ndarray:
    """A column of 0 and 1, or of truth values, as int64.

    Other pairs are refused: which of two words, or of 1 and 2, is the positive one would be a guess.

    Raises:
        DataError: other values, or missing ones.
    """
    values = column.astype(object).map(lambda v: {"true": 1, "false": 0}.get(str(v).strip().lower(), v))
    known = pd.to_numeric(values, errors="coerce")
    if known.isna().any() or not set(known.unique()) <= {0, 1}:
        seen = ", ".join(map(str, list(dict.fromkeys(column.astype(str)))[:4]))
        raise DataError(
            f"{name} must hold 0 and 1, or true and false, in every row (got {seen}): name the positive value, {name}=…"
        )
    return known.to_numpy(np.int64)


def positives(frame: pd.DataFrame, label: str) -> tuple[str, np.ndarray]:
    """The column that a text COLUMN or COLUMN=VALUE names, and which rows are positive: 1 where its value is VALUE, or
    where a column of 0 and 1 or of truth values states it.

    Raises:
        UsageError: no such column.
        DataError: a value that no row has, or a column of other values without one.
    """
    names = {str(c): c for c in frame.columns}
    column, sign, value = (label, "", "") if label in names else label.rpartition("=")
    if column not in names:
        column, sign, value = label.partition("=")
    if column not in names:
        raise unknown("label column", column, names)
    given = frame[names[column]]
    if not sign:
        return column, truth_values(given, column)
    number = pd.to_numeric(pd.Series([value.strip()]), errors="coerce").iloc[0]
    same = given.astype(str).str.strip() == value.strip()
    if pd.api.types.is_numeric_dtype(given.dtype) and not pd.isna(number):
        same |= given == number
    if not same.any():
        seen = ", ".join(map(str, list(dict.fromkeys(given.dropna().astype(str)))[:4]))
        raise DataError(f"no row has {column}={value.strip()} (got {seen}): name a value that occurs")
    return column, same.to_numpy(np.int64)
