"""Tables: rows of named columns, a DataFrame."""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.items import Items
from pofx.core.printed import number
from pofx.data.columns import Columns, left_out, marks, selected, strays, types_of
from pofx.data.conditions import conditioned, split_columns
from pofx.data.dated import Dated
from pofx.data.foreign import as_frame
from pofx.data.frames import ENDINGS, read_frame
from pofx.data.kind import Kind, Shown, in_range, kind_of, lines_of, loaded, npy, npz
from pofx.data.labels import with_labels
from pofx.data.numbers import frame_of, some
from pofx.data.reading_options import TEXTS, ReadingOption
from pofx.data.schema import describe
from pofx.data.support import supported
from pofx.data.typed import of_objects, to_numbers, type_name

PUBLIC = ("table",)

CATEGORIES = 20  # one-hot columns of a category column; the rest share one
FEW = 20  # distinct numbers up to which a column is perturbed as categories are


def table(
    x: Any,
    labels: Any = None,
    name: str = "table",
    support: Any = None,
    schema: str | Mapping[str, Any] | None = None,
    columns: Columns | None = None,
    drop: Columns | None = None,
) -> Items:
    """Rows of named columns of any types: a DataFrame, also of polars or Arrow, a mapping of columns, a structured
    array, or an array (n, d) whose columns are then called x0, x1, ….

    Numbers, truth values, dates and categories are modelled, missing values too. Columns of words of which nearly every
    one is different (ids, free text) are left out with a warning.

    Args:
        support: where values can lie at all, and samples always do: "positive", "unit", (low, high) with None for no
            end, a dict of these by column, or "simplex" where all columns are positive and each row sums to 1.
        schema: types by column where the guess is wrong: "number", "real" (never on a grid), "category", "bool",
            "date", "id", "text" (both left out), or the list of ordered categories.
        columns: those to model, by default all.
        drop: columns to leave out.

    Raises:
        DataError: empty, not finite, outside the support, or with columns that hold neither numbers, words nor dates.
    """
    found = as_frame(x)
    if found is not None:
        x = selected(found, columns, drop, name)
        meant = x.index.nlevels > 1 or x.index.name is not None or not pd.api.types.is_integer_dtype(x.index.dtype)
        if meant and len(x):
            called = ", ".join(str(n) for n in x.index.names if n is not None)
            warnings.warn(
                f"the index of {name}{f' ({called})' if called else ''} is left out: reset_index() makes it a column, "
                "reset_index(drop=True) drops it",
                stacklevel=2,
            )
    stated = types_of(schema)
    frame = check_table(x, name, stated)
    words = [c for c in frame.columns if c in stated or not (numeric(frame[c]) or frame[c].dtype.kind in "bmM")]
    schema_of_words = describe(frame[words], stated)
    out = left_out(schema_of_words, stated, len(frame))
    facts: dict[str, Any] = {"stated": stated} if stated else {}
    if out:
        whole, frame = frame, frame.drop(columns=list(out))
        if frame.shape[1] == 0:
            raise DataError(
                f"{name} has no columns but ids and free text ({some(list(out))}): state schema={{'{next(iter(out))}': "
                "'category'}, or give texts as pofx.texts"
            )
        for column, reason in out.items():
            if column not in stated:
                warnings.warn(
                    f"column {column} of {name} is left out, {reason}{strays(whole[column])}: "
                    f"schema={{'{column}': 'category'}} models it",
                    stacklevel=2,
                )
        facts["left_out"] = out
    for column, (mark, count) in marks(frame, schema_of_words).items():
        if column not in stated:
            same = "number" if numeric(frame[column]) else "date"
            warnings.warn(
                f"column {column} of {name} is {mark} in {count:,} rows, far from its other values: if that marks "
                f"missing ones, make these cells empty; schema={{'{column}': '{same}'}} models it as it is",
                stacklevel=2,
            )
    if support is not None:
        plain = np.stack([pd.to_numeric(frame[c], errors="coerce").to_numpy(np.float64) for c in frame.columns], 1)
        facts |= supported(plain, list(frame.columns), support)
    return Items("table", frame, *with_labels(labels, len(frame), name, facts))


def table_of(
    frame: pd.DataFrame,
    label: str | None,
    condition: Any,
    name: str,
    *,
    schema: Any = None,
    columns: Any = None,
    drop: Any = None,
) -> Items:
    """A table whose column `label`, if any, becomes the labels, and columns of it the condition.

    A single column of labels is both, so that evaluations know the classes.
    """
    frame = selected(frame, columns, drop, name)
    order = [str(c) for c in frame.columns]
    frame, given = split_columns(frame, condition, name)
    labels = None
    if label is not None:
        if given is not None and given.facts.get("column") == label:
            labels = given.values
        elif label not in frame.columns:
            raise unknown(f"label column of {name}", label, map(str, frame.columns))
        else:
            labels, frame = frame[label].to_numpy(), frame.drop(columns=[label])
    elif given is not None and kind_of(given).labels:
        labels = given.values
    types = {c: kind for c, kind in types_of(schema).items() if c in frame.columns or c not in order}
    items = table(frame, labels=labels, name=name, schema=types)
    if given is None:
        return conditioned(items, condition, name)
    return replace(items, condition=given, facts={**items.facts, "order": order})


def check_table(x: Any, name: str, stated: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The table as a DataFrame of numbers, truth values, words and dates, checked."""
    if isinstance(x, str | Path):
        raise DataError(f"{name} must be rows (got the name '{x}'): read the file, or use `pofx score RUN FILE`")
    if not isinstance(x, pd.DataFrame):
        found = as_frame(x)
        x = frame_of(x, name) if found is None else found
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise DataError(f"{name} is empty ({x.shape[0]} rows, {x.shape[1]} columns): give at least one of each")
    if x.columns.nlevels > 1:
        raise DataError(f"{name} has names of columns in {x.columns.nlevels} levels: join each to one text first")
    x = x.rename(columns=str)
    if x.columns.duplicated().any():
        raise DataError(f"{name} has columns of the same name: {some(x.columns[x.columns.duplicated()])}: rename them")
    frame = x.reset_index(drop=True)
    typed = {c: _column(frame[c], (stated or {}).get(c)) for c in frame.columns}
    other = [f"{c} ({type_name(frame[c])})" for c, column in typed.items() if column is None]
    if other:
        raise DataError(
            f"{name} has columns that are no numbers, words, truth values or dates: {some(other)}: drop them, or "
            "make them dates, numbers or texts"
        )
    checked = pd.DataFrame({c: column for c, column in typed.items() if column is not None})
    infinite = {c: _infinite(checked[c]) for c in checked.columns}
    bad = [f"{c} ({k})" for c, k in infinite.items() if k]
    if bad:
        raise DataError(f"{name} has values that are not finite in: {some(bad)}: drop the rows, or make them missing")
    return checked


def _column(column: pd.Series, stated: Any) -> pd.Series | np.ndarray | None:
    """A column in a type that is modelled; None where it has no such type."""
    plain = of_objects(column)
    if plain is None:
        return None
    column = plain
    if stated in ("number", "real") and not _numbers(column):
        column = pd.Series(to_numbers(column.astype(object), str(column.name)), index=column.index)
    if column.dtype == object and _plain_numbers(column):
        column = pd.to_numeric(column, errors="coerce")
    if _numbers(column):
        dtype = column.dtype  # pandas' and Arrow's own come back as such
        own = not isinstance(dtype, np.dtype | pd.SparseDtype) and (dtype.kind in "iuf" or column.isna().any())
        return column if own else column.to_numpy(dtype=_plain(column))
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or column.dtype.kind == "m" or _words(column):
        return column
    return None


def _plain_numbers(column: pd.Series) -> bool:
    """Whether objects are numbers, some of which may be missing."""
    known = column.dropna().tolist()
    real = (int, float, np.integer, np.floating)
    return bool(known) and all(isinstance(v, real) and not isinstance(v, bool) for v in known)


def _numbers(column: pd.Series) -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return False
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column)


def _words(column: pd.Series) -> bool:
    """Whether a column holds words, categories, or truth values with gaps: any of which may be missing."""
    if isinstance(column.dtype, pd.CategoricalDtype) or isinstance(column.dtype, pd.StringDtype):
        return True
    if isinstance(column.dtype, pd.ArrowDtype):
        return column.dtype.type is str or column.dtype.type is bool
    return column.dtype == object


def _infinite(column: pd.Series) -> int:
    if not numeric(column):
        return 0
    return int(np.isinf(column.to_numpy(dtype=np.float64, na_value=np.nan)).sum())


def _plain(column: pd.Series) -> np.dtype:
    """The numpy type of a column of numbers: its own, float64 for half and long precision."""
    kind = column.dtype if isinstance(column.dtype, np.dtype) else np.dtype(getattr(column.dtype, "numpy_dtype", float))
    return np.dtype(np.float64) if kind in (np.float16, np.longdouble) else kind.newbyteorder("=")


class Table(Kind):
    name = "table"
    summary = "rows of named columns"
    reads = ENDINGS
    reading: ClassVar = {
        **TEXTS,
        "columns": ReadingOption(Columns, "of a table to model: age,income"),
        "drop": ReadingOption(Columns, "columns of a table to leave out: id,name"),
        "schema": ReadingOption(
            str | Mapping[str, str | list[Any]], "types of columns where the guess is wrong: zip=category,day=date"
        ),
    }
    labelled = True
    columnar = True
    outputs = (".csv", ".parquet", ".npz", ".npy", ".json")

    def read(self, path: Path, label: str | None = None, condition: Any = None, **options: Any) -> Items:
        chosen = {k: v for k, v in options.items() if k not in TEXTS}
        return table_of(read_frame(path, options), label, condition, path.name, **chosen)

    def of_array(self, array: np.ndarray, labels: Any, name: str, facts: Mapping[str, Any]) -> Items | None:
        return table(array, labels=labels, name=name) if array.ndim == 2 else None

    def of_object(self, value: Any, name: str) -> Items | None:
        return table(value, name=name) if isinstance(value, pd.DataFrame) else None

    def shared(self, parts: Sequence[Items]) -> dict[str, Any]:
        """The description of the columns, from all splits; a split that is there twice counts once."""
        once = {id(part.values): loaded(part).values for part in parts}
        return {"schema": describe(self.join(list(once.values())), parts[0].facts.get("stated"))}

    def take(self, values: pd.DataFrame, at: np.ndarray) -> pd.DataFrame:
        return values.iloc[at].reset_index(drop=True)

    def join(self, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(list(parts), ignore_index=True)

    def update(self, hash: Any, values: pd.DataFrame) -> None:
        hash.update("\x1f".join(map(str, values.columns)).encode("utf-8", "surrogatepass"))
        for name in values.columns:
            hash.update(_content(values[name]))

    def exact_keys(self, values: pd.DataFrame) -> list[Any]:
        return list(zip(*(_comparable(values[c]) for c in values.columns), strict=True))

    def flat(self, values: pd.DataFrame) -> np.ndarray | None:
        numbers = values.select_dtypes("number")
        return numbers.to_numpy(dtype=np.float64, na_value=np.nan) if numbers.shape[1] == values.shape[1] else None

    def same(self, a: pd.DataFrame, b: pd.DataFrame) -> np.ndarray:
        equal = np.ones(len(a), bool)
        for name in a.columns:
            if numeric(a[name]):
                x, y = (f[name].to_numpy(dtype=np.float64, na_value=np.nan) for f in (a, b))
                equal &= np.isclose(x, y, atol=1e-3, equal_nan=True)
            else:
                equal &= np.array(_comparable(a[name]) == _comparable(b[name]), dtype=bool)
        return equal

    def noised(
        self, values: pd.DataFrame, known: pd.DataFrame, level: float, generator: np.random.Generator
    ) -> pd.DataFrame:
        """Categories, and numbers that take few values, are drawn anew."""
        moved = {}
        for name in values.columns:
            column, of = values[name], known[name]
            if numeric(of) and isinstance(of.dtype, np.dtype) and of.nunique() > FEW:
                x = column.to_numpy()
                noise = level * float(np.nanstd(of)) * generator.standard_normal(len(x))
                moved[name] = pd.Series(in_range(x + noise, of.to_numpy()))
            else:
                drawn = of.iloc[generator.integers(len(of), size=len(column))].reset_index(drop=True)
                anew = pd.Series(generator.random(len(column)) < level)
                moved[name] = column.reset_index(drop=True).where(~anew, drawn).astype(of.dtype)
        return pd.DataFrame(moved)

    def shuffled(self, values: pd.DataFrame, n: int, generator: np.random.Generator) -> pd.DataFrame:
        drawn = {
            c: values[c].iloc[generator.integers(len(values), size=n)].reset_index(drop=True) for c in values.columns
        }
        return pd.DataFrame(drawn)

    def plan(self, items: Items) -> dict[str, Any]:
        """Numbers as they are, dates in days, everything else one-hot."""
        columns: list[list[Any]] = []
        dated = Dated(items.values)
        frame = dated.counted(items.values)
        for name in frame.columns:
            column = frame[name]
            often = None if numeric(column) else column.astype(str).value_counts().index[:CATEGORIES].tolist()
            columns.append([name, often])
        return {"scaling": "standard", "columns": columns, "dates": dated.formats}

    def raw(self, values: pd.DataFrame, plan: Mapping[str, Any]) -> np.ndarray:
        parts = []
        values = Dated(formats=plan["dates"]).counted(values) if "dates" in plan else values
        for name, categories in plan["columns"]:
            if categories is None:
                parts.append(
                    pd.to_numeric(values[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)[:, None]
                )
            else:
                text = values[name].astype(str).to_numpy()
                parts.append((text[:, None] == np.array(categories, dtype=object)[None]).astype(np.float64))
        return np.concatenate(parts, 1)

    def columns(self, values: pd.DataFrame) -> pd.DataFrame | None:
        return values

    def with_columns(self, items: Items, more: pd.DataFrame) -> pd.DataFrame:
        frame = pd.concat([items.values.reset_index(drop=True), more.reset_index(drop=True)], axis=1)
        order = [c for c in items.facts.get("order", ()) if c in frame.columns]
        return frame[[*order, *(c for c in frame.columns if c not in order)]]

    def without_columns(self, values: Any, names: Sequence[str]) -> tuple[Any, Any]:
        if not names or not isinstance(values, pd.DataFrame):
            return values, None
        frame = values.rename(columns=str)
        if not set(names) <= set(frame.columns):
            return values, None
        return frame.drop(columns=list(names)), frame[list(names)] if len(names) > 1 else frame[names[0]]

    def shown(self, values: pd.DataFrame, facts: Mapping[str, Any]) -> Shown:
        return Shown(columns=[str(c) for c in values.columns], lines=self.to_json(values)["rows"])

    def preview(self, items: Items, width: int = 80, n: int = 5) -> str:
        return items.values.head(n).to_string(index=False, line_width=width, float_format=number)

    def describe(self, items: Items) -> str:
        return f"{len(items):,} rows of {items.values.shape[1]} columns"

    def content(self, items: Items, ending: str, columns: int | None = None) -> bytes:
        frame: pd.DataFrame = items.values
        if items.condition is not None and isinstance(items.condition.values, pd.DataFrame):
            frame = pd.concat([frame, items.condition.values.reset_index(drop=True)], axis=1)
        if ending == ".csv":
            return frame.to_csv(index=False).encode("utf-8", "surrogatepass")
        if ending == ".parquet":
            buffer = io.BytesIO()
            frame.to_parquet(buffer)
            return buffer.getvalue()
        if ending == ".json":
            return lines_of(frame.to_dict("records"), ending)
        if not all(numeric(frame[c]) for c in frame.columns):
            raise UsageError(f"a table with columns that are not numbers is not written as {ending}: choose .csv")
        array = frame.to_numpy()
        return npy(array) if ending == ".npy" else npz({"x": array, "columns": np.array(frame.columns, dtype=str)})

    def to_json(self, values: pd.DataFrame) -> Any:
        return {
            "columns": [str(c) for c in values.columns],
            "dtypes": [str(d) for d in values.dtypes],
            "rows": [list(row) for row in zip(*(_plain_values(values[c]) for c in values.columns), strict=True)],
        }

    def from_json(self, plain: Any, facts: Mapping[str, Any]) -> Any:
        frame = pd.DataFrame(plain["rows"], columns=plain["columns"])
        return frame.astype(dict(zip(plain["columns"], plain["dtypes"], strict=True)))

    def pack(self, values: pd.DataFrame) -> dict[str, np.ndarray]:
        buffer = io.BytesIO()
        values.to_parquet(buffer)
        return {"parquet": np.frombuffer(buffer.getvalue(), np.uint8)}

    def unpack(self, arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
        return pd.read_parquet(io.BytesIO(arrays["parquet"].tobytes()))


def numeric(column: pd.Series) -> bool:
    """Whether a column holds numbers; truth values are categories."""
    return bool(_numbers(column) and not pd.api.types.is_bool_dtype(column))


def _plain_values(column: pd.Series) -> list[Any]:
    """A column as plain JSON values: dates as ISO text, None for what is missing."""
    found = column.map(lambda v: v.isoformat(), na_action="ignore") if column.dtype.kind in "mM" else column
    there = column.notna()
    return [v if known else None for v, known in zip(found.tolist(), there, strict=True)]


def _content(column: pd.Series) -> bytes:
    """The content of a column for hashes; truth values count as whole numbers."""
    if numeric(column) and not isinstance(column.dtype, np.dtype) and not column.isna().any():
        column = pd.Series(column.to_numpy(dtype=_plain(column)))
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufmM":
        return np.ascontiguousarray(column.to_numpy()).tobytes()
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "b":
        return column.to_numpy(np.int64).tobytes()
    if isinstance(column.dtype, pd.CategoricalDtype) and isinstance(column.cat.categories.dtype, pd.StringDtype):
        missing = column.cat.categories.dtype.na_value
        words = np.array([*map(repr, column.cat.categories), repr(missing)], dtype=object)
        written: list[str] = words[column.cat.codes.to_numpy()].tolist()  # -1, of what is missing, is the last
    else:
        written = [repr(value) for value in column.astype(object).to_numpy()]
    return "\x1e".join(written).encode("utf-8", "surrogatepass")


def _comparable(column: pd.Series) -> np.ndarray:
    """A column as values that can be compared and hashed, with one mark for what is missing."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iubf":
        return column.to_numpy()
    found = column.astype(object).to_numpy(copy=True)
    found[column.isna().to_numpy()] = None
    return found
