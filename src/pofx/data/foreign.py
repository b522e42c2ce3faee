"""Tables of other libraries and of plain Python as DataFrames: what is rows of named columns, and what is none."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError
from pofx.data.bounded import reading
from pofx.data.numbers import from_tensor
from pofx.data.pictures import is_drawn, is_stored


def as_frame(data: Any) -> pd.DataFrame | None:
    """What is rows of named columns: tables of pandas, polars and Arrow, a mapping of columns, a list of mappings."""
    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, pd.Series) and pd.api.types.is_numeric_dtype(data.dtype):
        return data.to_frame("x" if data.name is None else str(data.name))
    if isinstance(data, Mapping):
        values = list(data.values())
        columns = [v for v in values if np.ndim(v) == 1 or isinstance(v, pd.Series)]
        if values and len(columns) == len(values) and not {"x", "x_train"} & set(data):
            if len({len(v) for v in columns}) > 1:
                sizes = ", ".join(f"{k}: {len(v)}" for k, v in list(data.items())[:5])
                raise DataError(f"the columns differ in length ({sizes}): give one value per row in each")
            return pd.DataFrame({k: _column(v) for k, v in data.items()})
        return None
    if isinstance(data, np.ndarray) and data.dtype.names and data.ndim == 1:
        if all(data.dtype[name].shape == () for name in data.dtype.names):
            return pd.DataFrame({name: data[name] for name in data.dtype.names})
    if isinstance(data, list) and data and all(isinstance(row, pd.Series) for row in data):
        return pd.DataFrame(data).infer_objects()
    if isinstance(data, list | tuple) and data and all(isinstance(row, Mapping) for row in data):
        return None if is_nested(data[0]) else pd.DataFrame(list(data))
    library = type(data).__module__.split(".")[0]
    if library in ("polars", "pyarrow", "modin", "cudf", "dask") and hasattr(data, "to_pandas"):
        with reading(f"the {type(data).__name__}", "table", "pass a pandas DataFrame"):
            return pd.DataFrame(data.to_pandas())
    return None


def _column(values: Any) -> Any:
    if hasattr(values, "detach"):
        return from_tensor(values)
    if isinstance(values, np.ma.MaskedArray):
        return pd.Series(values.tolist())
    return values


def type_of(value: Any) -> str:
    """What a value is: picture, words, array, value, or the name of another type."""
    if is_drawn(value) or is_stored(value):
        return "picture"
    if isinstance(value, str):
        return "words"
    if isinstance(value, Mapping | set):
        return type(value).__name__
    if hasattr(value, "detach") or isinstance(value, np.ndarray):
        return "array" if value.ndim else "value"
    if isinstance(value, list | tuple):
        inner: Any = value
        while isinstance(inner, list | tuple) and inner:
            inner = inner[0]
        return "array" if isinstance(inner, int | float | np.generic) else f"list of {type(inner).__name__}"
    return "value"


def is_nested(row: Mapping[str, Any]) -> bool:
    """Whether a row holds a picture or an array, as no table does."""
    return any(type_of(v) in ("picture", "array") for v in row.values())
