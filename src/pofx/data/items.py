"""Arrays told what they are: images, table, points, tokens. Every check that raw data must pass is here."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.representation import Items
from pofx.data.passages import PASSAGE, Passages
from pofx.data.support import check_support, stated

PUBLIC = ("images", "points", "table", "tokens")


def images(x: Any, levels: int = 256, labels: Any = None, name: str = "images") -> Items:
    """Images with grey or colour levels 0 to levels - 1.

    x is an integer array (n, H, W) or (n, H, W, C) with C = 1 to 4; labels are class numbers or names, one per image.

    Raises:
        DataError: empty, of another shape or type, or levels out of range.
    """
    return Items("image", check_images(x, levels, name), *_labels(labels, len(x), name, {"levels": int(levels)}))


def table(x: Any, labels: Any = None, name: str = "table", support: Any = None) -> Items:
    """Rows of numeric columns: a DataFrame, or an array (n, d) whose columns are then called x0, x1, ….

    support says where values can lie at all, and samples always do: "positive", "unit", (low, high) with None for no
    end, a dict of these by column, or "simplex" where all columns are positive and each row sums to 1.

    Raises:
        DataError: empty, not finite, outside the support, or with columns that are not numbers.
    """
    frame = check_table(x, name)
    facts = _supported(frame.to_numpy(dtype=np.float64), list(frame.columns), support)
    return Items("table", frame, *_labels(labels, len(frame), name, facts))


def points(x: Any, labels: Any = None, name: str = "points", support: Any = None) -> Items:
    """Points of d real coordinates: a float array (n, d); support as in `table`, its columns called x0, x1, ….

    Raises:
        DataError: empty, not finite, outside the support or of another shape.
    """
    values = check_points(x, name)
    facts = _supported(values, [f"x{i}" for i in range(values.shape[1])], support)
    return Items("points", values, *_labels(labels, len(values), name, facts))


def _supported(values: np.ndarray, columns: list[str], support: Any) -> dict[str, Any]:
    """The fact of a stated support; whether its ends belong to it is known once grids have been looked for."""
    plain = stated(support, columns)
    if plain is None:
        return {}
    check_support(values, columns, plain, np.ones(len(columns), dtype=bool))
    return {"support": plain}


def tokens(x: Any, classes: int | None = None, labels: Any = None, name: str = "tokens") -> Items:
    """Texts (a list of strings), or sequences of equal length of class numbers (an integer array (n, length)).

    One string is running text: its items are consecutive passages, its splits follow one another. `classes` is the size
    of the alphabet of an integer array; by default one more than its largest value.

    Raises:
        DataError: empty, of another type, or values out of range.
    """
    if isinstance(x, str):
        if not x.strip():
            raise DataError(f"{name} holds no text: give running text, or a list of strings")
        return Items("tokens", Passages(x), *_labels(labels, 1, name, {"characters": len(x), "passage": PASSAGE}))
    if isinstance(x, list | tuple) and len(x) and all(isinstance(v, str) for v in x):
        return Items("tokens", list(x), *_labels(labels, len(x), name, {}))
    array = np.asarray(x)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer) or array.size == 0:
        got = f"{array.dtype} {array.shape}"
        raise DataError(f"{name} must be a list of strings or an integer array (n, length), not empty (got {got})")
    size = int(array.max()) + 1 if classes is None else classes
    if array.min() < 0 or array.max() >= size:
        raise DataError(f"{name} must lie in 0 to {size - 1} (got {array.min()} to {array.max()}): pass classes=…")
    return Items("tokens", array.astype(np.int64), *_labels(labels, len(array), name, {"classes": size}))


def check_images(x: Any, levels: int, name: str) -> np.ndarray:
    """The images as uint8 (n, H, W) or (n, H, W, C), checked."""
    if isinstance(levels, bool) or not isinstance(levels, int | np.integer) or not 2 <= levels <= 256:
        raise UsageError(f"levels must be 2 to 256 (got {levels}): pass levels=256 for 8-bit images")
    array = _array(x, name)
    if array.ndim not in (3, 4) or (array.ndim == 4 and not 1 <= array.shape[-1] <= 4):
        hint = ": move the channels last" if array.ndim == 4 and array.shape[1] in (1, 3) else ""
        raise DataError(f"{name} must have shape (n, H, W) or (n, H, W, 1 to 4 channels) (got {array.shape}){hint}")
    if array.size == 0:
        raise DataError(f"{name} is empty (shape {array.shape}): give at least one image with at least one pixel")
    if not (np.issubdtype(array.dtype, np.integer) or array.dtype == bool):
        raise DataError(
            f"{name} must hold integer levels 0 to {levels - 1} (got {array.dtype}): "
            "scale and round them, (x * 255).round().astype('uint8') for values in [0, 1]"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= levels:
        raise DataError(f"{name} must lie in 0 to {levels - 1} (got {low} to {high}): pass levels={max(high + 1, 2)}")
    return np.ascontiguousarray(array, dtype=np.uint8)


def check_table(x: Any, name: str) -> pd.DataFrame:
    """The table as a DataFrame of numbers, checked."""
    if not isinstance(x, pd.DataFrame):
        array = check_points(x, name)
        x = pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise DataError(f"{name} is empty ({x.shape[0]} rows, {x.shape[1]} columns): give at least one of each")
    if x.columns.duplicated().any():
        raise DataError(f"{name} has columns of the same name: {_some(x.columns[x.columns.duplicated()])}: rename them")
    other = [c for c in x.columns if not pd.api.types.is_numeric_dtype(x[c]) or pd.api.types.is_complex_dtype(x[c])]
    if other:
        raise DataError(
            f"{name} has columns that are not numbers: {_some(other)}: drop them, or encode them as numbers "
            "(pandas.get_dummies), or name one as what a model is conditioned on, or as the label of a comparison"
        )
    bad = {c: int((~np.isfinite(x[c].to_numpy(dtype=np.float64, na_value=np.nan))).sum()) for c in x.columns}
    bad = {c: k for c, k in bad.items() if k}
    if bad:
        counts = _some([f"{c} ({k})" for c, k in bad.items()])
        raise DataError(f"{name} has values that are missing or not finite in: {counts}: fill them or drop the rows")
    frame = x.rename(columns=str).reset_index(drop=True)
    return pd.DataFrame({c: frame[c].to_numpy(dtype=_plain(frame[c])) for c in frame.columns})


def check_points(x: Any, name: str) -> np.ndarray:
    """The points as a float array (n, d), float32 or float64, checked."""
    array = _array(x, name)
    if array.ndim != 2 or array.size == 0:
        raise DataError(f"{name} must have shape (n, d) and not be empty (got {array.shape})")
    if (
        array.dtype == bool
        or not np.issubdtype(array.dtype, np.number)
        or np.issubdtype(array.dtype, np.complexfloating)
    ):
        raise DataError(f"{name} must be real numbers (got {array.dtype}): convert them with astype(float)")
    if not np.issubdtype(array.dtype, np.floating) or array.dtype == np.float16:
        array = array.astype(np.float64)
    bad = int((~np.isfinite(array)).sum())
    if bad:
        row = int(np.flatnonzero(~np.isfinite(array).all(1))[0])
        raise DataError(f"{name} has {bad} values that are not finite (first in row {row}): remove or fill them first")
    return array


def encode_labels(labels: Any, n: int, name: str) -> tuple[np.ndarray, list[str]]:
    """Labels of any kind as class numbers int64 (n,), and the names of the classes in the order of the numbers."""
    array = np.asarray(labels)
    if array.ndim != 1 or len(array) != n:
        raise DataError(f"{name} has {n} items but labels of shape {array.shape}: give one label per item")
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


def _labels(labels: Any, n: int, name: str, facts: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if labels is None:
        return None, facts
    codes, names = encode_labels(labels, n, name)
    return codes, {**facts, "label_names": names}


def _array(x: Any, name: str) -> np.ndarray:
    if hasattr(x, "detach"):  # a torch tensor, without importing torch
        x = x.detach().cpu().numpy()
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise DataError(f"{name}: the items differ in shape: resize them to one shape ({error})") from error
    if array.dtype == object:
        raise DataError(f"{name} has dtype object (ragged rows or mixed types): give numbers of one shape")
    return array


def _plain(column: pd.Series) -> np.dtype:
    """The numpy type of a column of numbers: its own, int64 for truth values, float64 for half precision."""
    kind = column.dtype if isinstance(column.dtype, np.dtype) else np.dtype(getattr(column.dtype, "numpy_dtype", float))
    if kind.kind == "b":
        return np.dtype(np.int64)
    return np.dtype(np.float64) if kind == np.float16 else kind


def _some(names: Sequence[Any]) -> str:
    shown = ", ".join(map(str, list(names)[:5]))
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def table_with_label(frame: pd.DataFrame, label: str | None, name: str) -> Items:
    """A table whose column `label`, if any, becomes the labels."""
    if label is None:
        return table(frame, name=name)
    if label not in frame.columns:
        raise unknown(f"label column of {name}", label, map(str, frame.columns))
    return table(frame.drop(columns=[label]), labels=frame[label].to_numpy(), name=name)
