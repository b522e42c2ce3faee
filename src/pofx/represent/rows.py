"""Rows of mixed types as a product event: numbers standardised, categories as classes with a count for each column.

What a row of a table is as a condition: words, truth values and numbers side by side, with missing values. Dates become
numbers, in days. Category 0 of every column is anything that training never showed, or a missing value; a column of
numbers in which training values are missing has a second number, 1 where the value is missing.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pofx.core.errors import DataError, UsageError
from pofx.core.event import Continuous, Discrete, Event
from pofx.core.model import Density
from pofx.core.options import OneOf, Positive, Real, check_value, once, short
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation
from pofx.data.numbers import from_tensor
from pofx.data.typed import to_dates, to_numbers

FARTHEST = 100.0  # standard deviations: numbers farther out are moved to there
MOST = 1000  # categories of a column
_TRUTH = {"1": "True", "0": "False", "true": "True", "false": "False"}


class Rows(Representation):
    """A DataFrame ↔ raw float64 (n, columns): numbers as they are, categories by number.

    `columns` has a mapping for each column: name, type ("number", "date" or "category"), dtype, and mean, std and
    missing of numbers or the names of the categories.
    """

    kind = "table"
    name = "mixed"
    summary = "numbers standardised, categories as classes; only of conditions"
    conditional = True
    measure: ClassVar[str] = "Lebesgue on numbers, counting on categories"
    volume = Density.NONE

    def __init__(self, columns: list[dict[str, Any]]) -> None:
        self.columns = columns
        _check(columns)
        self._numbers = [i for i, c in enumerate(columns) if c["type"] != "category"]
        self._flags = [i for i in self._numbers if columns[i]["missing"]]
        self._categories = [i for i, c in enumerate(columns) if c["type"] == "category"]
        self._mean = torch.tensor([columns[i]["mean"] for i in self._numbers], dtype=torch.float64)
        self._std = torch.tensor([columns[i]["std"] for i in self._numbers], dtype=torch.float64)
        self._index = {i: {name: k + 1 for k, name in enumerate(columns[i]["names"])} for i in self._categories}
        parts: dict[str, Event] = {}
        if self._numbers:
            parts["numbers"] = Continuous((len(self._numbers) + len(self._flags),))
        if self._categories:
            counts = tuple(len(columns[i]["names"]) + 1 for i in self._categories)
            parts["categories"] = Discrete((len(counts),), counts)
        self.event = parts if len(parts) > 1 else next(iter(parts.values()))

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        frame: pd.DataFrame = items.values
        if frame.shape[0] == 0 or frame.shape[1] == 0:
            raise DataError(f"the condition is empty ({frame.shape[0]} rows, {frame.shape[1]} columns): give some")
        return cls([_described(frame[name]) for name in frame.columns])

    def as_batch(self, values: Any) -> Any:
        """One row as a mapping, a Series by column names, or (of a single column) one value."""
        if isinstance(values, Mapping) and not any(np.ndim(v) for v in values.values()):
            return pd.DataFrame([dict(values)])
        if isinstance(values, pd.Series) and set(self._names) <= set(map(str, values.index)):
            return pd.DataFrame([values.to_dict()])
        if np.ndim(values) == 0 and not isinstance(values, Mapping):
            return [values]
        if np.ndim(values) == 1 and len(self.columns) > 1 and len(values) == len(self.columns):
            return [list(values)]
        return values

    def written(self, text: str) -> Any:
        """A row as age=30,plan=pro; of a single column its values, with commas between them."""
        if "=" not in text and len(self.columns) == 1:
            return [value.strip() for value in text.split(",")]
        pairs = [part.partition("=") for part in text.split(",")]
        if not all(sign and key.strip() for key, sign, _ in pairs):
            raise UsageError(f"the condition must be written {'=…,'.join(self._names)}=… (got '{text}')")
        return [once(((key.strip(), value.strip()) for key, _, value in pairs), "the condition")]

    @property
    def _names(self) -> list[str]:
        return [str(c["name"]) for c in self.columns]

    def tensor(self, values: Any) -> Tensor:
        frame = self._frame(values)
        raw = np.empty((len(frame), len(self.columns)))
        for i, column in enumerate(self.columns):
            of = frame[str(column["name"])]
            if i in self._index:
                index = self._index[i]
                truth = _TRUTH if column["dtype"] == "bool" else {}
                raw[:, i] = [index.get(truth.get(name, name), 0) for name in of.map(_category)]
            else:
                raw[:, i] = _numbers(of, column["type"])
                if np.isinf(raw[:, i]).any():
                    row = int(np.flatnonzero(np.isinf(raw[:, i]))[0])
                    raise DataError(f"column {column['name']} of the condition is infinite in row {row}: give a number")
                lacking = np.isnan(raw[:, i])
                if lacking.any() and not column["missing"]:
                    row = int(np.flatnonzero(lacking)[0])
                    raise DataError(
                        f"column {column['name']} of the condition is missing or no number in row {row} "
                        f"(got {of.iloc[row]!r}), and no value of it was missing in training: fill it"
                    )
        return torch.from_numpy(raw)

    def _frame(self, values: Any) -> pd.DataFrame:
        """The columns of the condition, in a DataFrame; further columns are left out."""
        if hasattr(values, "detach"):
            values = from_tensor(values)
        if isinstance(values, pd.Series):
            values = values.to_frame(self._names[0])
        elif isinstance(values, Mapping):
            values = pd.DataFrame(dict(values))
        elif not isinstance(values, pd.DataFrame):
            rows = list(values)
            if rows and isinstance(rows[0], Mapping):
                values = pd.DataFrame(rows)
            else:
                array = np.asarray(rows, dtype=object)
                array = array[:, None] if array.ndim == 1 else array
                if array.ndim != 2 or array.shape[1] != len(self.columns):
                    raise DataError(
                        f"the condition must have {len(self.columns)} columns, {', '.join(self._names)} "
                        f"(got shape {np.shape(rows)})"
                    )
                values = pd.DataFrame(array, columns=self._names)
        values = values.rename(columns=str)
        lacking = [name for name in self._names if name not in values.columns]
        if lacking:
            raise DataError(f"the condition lacks the columns {', '.join(lacking)}: give {', '.join(self._names)}")
        if len(values) == 0:
            raise DataError("the condition has no rows: give at least one")
        return values

    def unfamiliar(self, raw: Tensor) -> str:
        for i in self._categories:
            if bool((raw[:, i] == 0).any()) and not self.columns[i]["missing"]:
                return f"column {self.columns[i]['name']} of the condition has categories that training never showed"
        for k, i in enumerate(self._numbers):
            mean, std = float(self._mean[k]), float(self._std[k])
            far = (raw[:, i] - mean).abs() > FARTHEST * std
            if bool(far.any()):
                value = float(raw[:, i][far][0])
                return (
                    f"column {self.columns[i]['name']} of the condition has {value:g}, more than {FARTHEST:g} standard "
                    f"deviations ({std:.3g}) from its mean in training ({mean:.3g}): taken as if it were {FARTHEST:g}"
                )
        return ""

    def items(self, raw: Tensor) -> Any:
        full = raw.detach().to("cpu", torch.float64).numpy()
        found: dict[str, Any] = {}
        for i, column in enumerate(self.columns):
            values, dtype = full[:, i], column["dtype"]
            if column["type"] == "category":
                names = np.array([None, *column["names"]], dtype=object)[values.astype(int)]
                whole = dtype == "bool" and (values > 0).all()
                found[column["name"]] = names == "True" if whole else names
            elif column["type"] == "date":
                found[column["name"]] = pd.to_datetime(values, unit="D").round("us")
            else:
                whole = np.issubdtype(np.dtype(dtype), np.integer) and np.isfinite(values).all()
                found[column["name"]] = values.round().astype(dtype) if whole else values
        return pd.DataFrame(found)

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Any, Tensor]:
        parts: dict[str, Tensor] = {}
        if self._numbers:
            x = raw[:, self._numbers].double()
            y = ((x - self._mean.to(x.device)) / self._std.to(x.device)).clamp(-FARTHEST, FARTHEST)
            flags = raw[:, self._flags].isnan().double()
            parts["numbers"] = torch.cat((y.nan_to_num(0.0), flags), 1).float()
        if self._categories:
            parts["categories"] = raw[:, self._categories].long()
        none = torch.zeros(len(raw), device=raw.device)
        return (parts if len(parts) > 1 else next(iter(parts.values()))), none

    def decode(self, x: Any) -> Tensor:
        parts = x if isinstance(x, dict) else {"numbers" if self._numbers else "categories": x}
        n = len(next(iter(parts.values())))
        raw = torch.empty(n, len(self.columns), dtype=torch.float64)
        if self._numbers:
            values = parts["numbers"].double().cpu()
            y = values[:, : len(self._numbers)] * self._std + self._mean
            for k, i in enumerate(self._flags):
                at = self._numbers.index(i)
                y[:, at] = y[:, at].masked_fill(values[:, len(self._numbers) + k] > 0.5, torch.nan)
            raw[:, self._numbers] = y
        if self._categories:
            raw[:, self._categories] = parts["categories"].double().cpu()
        return raw

    @property
    def dims(self) -> int:
        return len(self.columns)


def _check(columns: list[dict[str, Any]]) -> None:
    """Refuse descriptions of columns, read from a file, that `fit` cannot have made.

    Raises:
        DataError: naming the column and what is wrong.
    """
    needed = {"name": str, "dtype": str, "missing": bool, "type": Annotated[str, OneOf("number", "date", "category")]}
    for i, column in enumerate(columns):
        if not isinstance(column, Mapping):
            raise DataError(f"column {i} of the condition must be described by names and values (got {short(column)})")
        of_type = {"names": list[str]} if column.get("type") == "category" else {"mean": Real, "std": Positive}
        for key, kind in (needed | of_type).items():
            check_value(f"{key} of column {i} of the condition", column.get(key), kind)
        try:
            np.dtype(column["dtype"])
        except TypeError as error:
            raise DataError(f"dtype of column {i} must be one of numpy (got {short(column['dtype'])})") from error


def _described(column: pd.Series) -> dict[str, Any]:
    """What a column of the training rows is: numbers, dates or categories, with what makes them events."""
    kind = _type(column)
    made: dict[str, Any] = {"name": str(column.name), "type": kind, "dtype": _dtype(column)}
    missing = bool(column.isna().any())
    if kind == "category":
        names = sorted(set(column.dropna().map(_category)))
        if len(names) > MOST or len(names) > max(2, len(column) // 2):
            raise DataError(
                f"column {column.name} of the condition has {len(names)} different values in {len(column)} rows: "
                "these name items, not categories; leave it out"
            )
        return made | {"names": names, "missing": missing}
    values = _numbers(column, kind)
    if np.isinf(values).any():
        raise DataError(f"column {column.name} of the condition has infinite values: remove or fill them first")
    known = values[~np.isnan(values)]
    if not len(known):
        raise DataError(f"column {column.name} of the condition has no values: leave it out")
    std = float(known.std())
    return made | {"mean": float(known.mean()), "std": std if 0 < std < np.inf else 1.0, "missing": missing}


def _type(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column.dtype):
        return "category"
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return "date"
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_complex_dtype(column.dtype):
        return "number"
    values = column.dropna()
    real = [isinstance(v, int | float | np.number) and not isinstance(v, bool | np.bool_) for v in values]
    return "number" if len(real) and all(real) else "category"


def _dtype(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column.dtype):
        return "bool"
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        return str(column.dtype)
    return "float64" if pd.api.types.is_numeric_dtype(column.dtype) else "object"


def _category(value: Any) -> str | None:
    """The name of a category; None where it is missing."""
    if value is None or (not isinstance(value, str | bytes) and value is pd.NA) or value != value:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(bool(value)) if isinstance(value, np.bool_) else str(value)


def _numbers(column: pd.Series, kind: str) -> np.ndarray:
    """A column as float64, nan where a value is missing; dates in days since 1970."""
    if kind == "date":
        dates = to_dates(column, f"{column.name} of the condition")
        return np.asarray((dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1), dtype=np.float64)
    return to_numbers(column, f"{column.name} of the condition")
