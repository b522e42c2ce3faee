"""Arrays of numbers from whatever holds them, checked: what images, points and tables share."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError


def from_tensor(x: Any) -> np.ndarray:
    """A torch tensor of any type, layout and device as a numpy array, without importing torch; bfloat16 as float32."""
    if str(x.device) == "meta" or getattr(x, "is_nested", False):
        what = "a nested tensor has rows of several lengths: pad them" if x.is_nested else "it has no values"
        raise DataError(f"a tensor must hold numbers of one shape (got device {x.device}): {what}")
    x = x.detach().cpu()
    if x.is_quantized:
        x = x.dequantize()
    if str(x.layout) != "torch.strided":
        x = x.to_dense()
    if str(x.dtype) == "torch.bfloat16" or "float8" in str(x.dtype):
        x = x.float()
    return np.asarray(x.resolve_conj().resolve_neg().numpy())


def as_array(x: Any, name: str) -> np.ndarray:
    """A numpy array of a list, a tensor or an array.

    Raises:
        DataError: masked values, ragged rows or mixed types.
    """
    if hasattr(x, "detach") and hasattr(x, "layout"):
        x = from_tensor(x)
    if hasattr(x, "toarray") and hasattr(x, "nnz"):
        raise DataError(f"{name} is sparse (got {type(x).__name__}): pass its .toarray()")
    if isinstance(x, pd.DataFrame) and not all(isinstance(t, np.dtype) for t in x.dtypes) and len(x.columns):
        x = _frame_array(x, name)
    refuse_masked(x, name)
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise DataError(f"{name}: the items differ in shape: give numbers of one shape") from error
    if (
        array.dtype == object
        and array.ndim
        and all(isinstance(v, Real) and not isinstance(v, bool) for v in array.flat)
    ):
        array = array.astype(np.float64)  # numbers that pandas or a list of mixed types held
    if array.dtype == object and array.ndim == 0:
        raise DataError(f"{name} must be an array of numbers (got {type(x).__name__}): pass one, or a list of rows")
    if array.dtype == object:
        raise DataError(f"{name} has dtype object (ragged rows or mixed types): give numbers of one shape")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def as_floats(x: Any, name: str) -> np.ndarray:
    """Numbers as float64, NaN where one is masked or missing.

    Raises:
        DataError: words, objects, complex numbers, rows of several lengths.
    """
    if isinstance(x, np.ma.MaskedArray) and x.dtype.kind in "iufb":
        x = np.where(np.ma.getmaskarray(x), np.nan, x.data.astype(np.float64))
    x = from_tensor(x) if hasattr(x, "detach") else x
    try:
        array = np.asarray(x)
        if array.dtype.kind not in "iufbO":
            raise ValueError(f"dtype {array.dtype}")
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be real numbers of one shape ({error}): give an array, NaN for gaps") from error


def _frame_array(x: pd.DataFrame, name: str) -> np.ndarray:
    """Columns of pandas' or Arrow's nullable numbers as float64; missing values are NaN."""
    words = [str(c) for c, t in x.dtypes.items() if not pd.api.types.is_numeric_dtype(t)]
    if words:
        raise DataError(
            f"{name} has columns that are no numbers: {some(words)}: drop them, or train on them as a table"
        )
    return np.stack([x.iloc[:, k].to_numpy(np.float64, na_value=np.nan) for k in range(x.shape[1])], 1)


def refuse_masked(x: Any, name: str) -> None:
    """Refuse arrays with masked values: what is behind a mask is no data."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        count = int(np.ma.getmaskarray(x).sum())
        raise DataError(f"{name} has {count} masked values, which are missing: fill them or drop their rows")


def check_points(x: Any, name: str) -> np.ndarray:
    """The points as a float array (n, d), float32 or float64, checked."""
    array = as_array(x, name)
    if array.ndim != 2 or array.size == 0:
        mend = "pass [x] for one point" if array.ndim == 1 and array.size else "give a row for each point"
        raise DataError(f"{name} must have shape (n, d) and not be empty (got {array.shape}): {mend}")
    if array.dtype.kind not in "iuf":  # bool, words, complex numbers, dates and spans of time
        raise DataError(f"{name} must be real numbers (got {array.dtype}): convert them with astype(float)")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    bad = int((~np.isfinite(array)).sum())
    if bad:
        row = int(np.flatnonzero(~np.isfinite(array).all(1))[0])
        raise DataError(
            f"{name} has {bad} values that are not finite (first in row {row}): remove or fill them first, "
            "or give a DataFrame, whose cells may be missing"
        )
    return array


def frame_of(x: Any, name: str) -> pd.DataFrame:
    """An array (n, d) as a table of columns x0, x1, …, in their own type: whole numbers and truth values stay exact.

    Raises:
        DataError: another shape, type, or values that are not finite.
    """
    array = as_array(x, name)
    if array.ndim != 2 or array.dtype.kind not in "iub":
        array = check_points(array, name)
    return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])


def some(names: Sequence[Any]) -> str:
    """The first five names, and how many more there are."""
    shown = ", ".join(map(str, list(names)[:5]))
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def check_codes(x: Any, shape: tuple[int, ...], whole: bool) -> np.ndarray:
    """Codes of a model as int64 or float32 (n, *shape), checked."""
    array = as_array(x, "codes")
    if array.shape[1:] != tuple(shape) or array.ndim != len(shape) + 1 or not len(array):
        raise DataError(f"codes must have shape (n, {', '.join(map(str, shape))}), not empty (got {array.shape})")
    if array.dtype.kind not in ("iu" if whole else "iuf") or not np.isfinite(array).all():
        raise DataError(
            f"codes must be {'whole' if whole else 'finite'} numbers (got {array.dtype}): give those of encode"
        )
    return array.astype(np.int64 if whole else np.float32)
