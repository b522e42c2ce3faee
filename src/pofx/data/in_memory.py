"""Objects in memory as items: arrays, tensors, tables, lists, mappings, generators, torch and 🤗 data sets as they are.

What an object is follows from its type; where two kinds would fit, it is refused with the wrappers that state it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.items import Items
from pofx.data.bounded import reading
from pofx.data.conditions import as_items, conditioned
from pofx.data.files import from_array, of_arrays
from pofx.data.kind import kinds
from pofx.data.kinds.image import images
from pofx.data.kinds.points import points
from pofx.data.kinds.table import table_of
from pofx.data.kinds.text import texts
from pofx.data.kinds.tokens import tokens
from pofx.data.labels import with_labels
from pofx.data.numbers import from_tensor
from pofx.data.pictures import Shape, flat, shaped

MOST = 10_000_000  # items that a generator may yield
WRAP = "wrap it in pofx.images, pofx.table, pofx.points, pofx.tokens, pofx.texts or pofx.audio"
LABELS = ("label", "labels", "target", "y", "class", "fine_label")
PICTURES = ("image", "img", "picture", "pixels", "x")
SPLITS = {"train": ("train", "training"), "validation": ("validation", "val", "valid", "dev"), "test": ("test",)}


def in_memory(data: Any, label: str | None, condition: Any, options: Mapping[str, Any]) -> Items | tuple[Items, ...]:
    """An object as items, or as its splits (training, test) or (training, validation, test) where it states them.

    Args:
        options: of reading; those of tables and pictures apply to objects as well.

    Raises:
        UsageError: the object does not state its type; the wrappers that do are named.
        DataError: empty, not finite, or of mixed types.
    """
    if isinstance(data, Items):
        _refuse(options, "Items")
        return conditioned(data, condition, f"the {data.kind} items")
    if isinstance(data, Mapping) and _splits(data):
        parts = {name: in_memory(part, label, condition, options) for name, part in _splits(data).items()}
        found = tuple(_alike(parts[name]) for name in ("train", "validation", "test") if name in parts)
        if len({part.kind for part in found}) > 1:
            raise DataError(f"the splits are of several kinds ({', '.join(p.kind for p in found)}): give one kind")
        return found
    frame = _frame(data)
    if frame is not None:
        chosen = {k: v for k, v in options.items() if k in ("columns", "drop", "schema")}
        _refuse({k: v for k, v in options.items() if k not in chosen}, "tables in memory")
        return table_of(frame, label, condition, f"the {type(data).__name__}", **chosen)
    made = _typed(data, label, options)
    if not isinstance(made, Items):
        return tuple(conditioned(part, condition) for part in made)
    return conditioned(made, condition)


def _refuse(options: Mapping[str, Any], what: str) -> None:
    if options:
        raise UsageError(f"{', '.join(options)} change how data is read, which {what} are already: leave them out")


def _alike(part: Any) -> Items:
    if not isinstance(part, Items):
        raise UsageError("a split must hold items, not splits: give {'train': …, 'test': …}")
    return part


def _splits(data: Mapping[Any, Any]) -> dict[str, Any]:
    """The parts of a mapping whose keys are all names of splits."""
    found = {name: data[key] for name, keys in SPLITS.items() for key in keys if key in data}
    return found if "train" in found and len(found) == len(data) > 1 else {}


def _frame(data: Any) -> pd.DataFrame | None:
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
    if isinstance(data, list | tuple) and data and all(isinstance(row, Mapping) for row in data):
        return pd.DataFrame(list(data))
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


def _typed(data: Any, label: str | None, options: Mapping[str, Any]) -> Items | tuple[Items, ...]:
    """An object as items of the kind that it must be."""
    name = f"the {type(data).__name__}"
    library = type(data).__module__.split(".")[0]
    if library == "datasets":
        from pofx.data.arrow import from_datasets

        return from_datasets(data, label, options)
    if isinstance(data, Mapping):
        plain = {str(k): _array(v, f"{name}, {k}") for k, v in data.items()}
        return of_arrays(plain, name, label, options)
    if label is not None:
        raise UsageError(f"{name} has no column '{label}': pass labels= to pofx.images and the like, or a DataFrame")
    if isinstance(data, Iterator) or (hasattr(data, "__iter__") and not hasattr(data, "__len__")):
        data = list(islice(data, MOST + 1))
        if len(data) > MOST:
            raise DataError(f"{name} yields more than {MOST:,} items: save them to a file")
        if not data:
            raise DataError(f"{name} yields nothing: give at least 3 items (a generator can be read only once)")
    if hasattr(data, "detach"):  # a torch tensor, without importing torch
        data, library = _torch_array(data), "numpy"
    if hasattr(data, "toarray") and library == "scipy":
        raise UsageError(f"{name} is sparse: pass data.toarray()")
    if isinstance(data, list | tuple):
        data = _listed(data, name, options)
        if isinstance(data, Items):
            return data
    shaped_by = {k: v for k, v in options.items() if k in ("kind", "levels")}
    if shaped_by and isinstance(data, np.ndarray):
        return from_array(data, None, name, options.get("levels"), options.get("kind"))
    _refuse({k: v for k, v in options.items() if k != "on_disk"}, f"objects such as {name}")
    for kind in kinds().values():
        found = kind.of_object(data, name)
        if found is not None:
            return found
    if hasattr(data, "dataset") and hasattr(data, "batch_size"):
        data = data.dataset  # of a DataLoader
    if hasattr(data, "__getitem__") and library not in ("numpy", "builtins"):
        return from_torch(data, on_disk=bool(options.get("on_disk")))
    shape = getattr(data, "shape", None)
    raise UsageError(
        f"data must state its type (got {type(data).__name__}{'' if shape is None else f' of shape {tuple(shape)}'}): "
        f"{WRAP}"
    )


def _torch_array(data: Any) -> np.ndarray:
    """A tensor as an array; images have their channels first there."""
    array = from_tensor(data)
    if array.ndim == 4 and array.shape[1] in (1, 2, 3, 4):
        array = np.moveaxis(array, 1, -1)
        array = array[..., 0] if array.shape[-1] == 1 else array
    return array


def _array(value: Any, name: str) -> np.ndarray:
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(f"{name} has masked values, which are missing: fill them or drop their rows")
    return _torch_array(value) if hasattr(value, "detach") else np.asarray(value)


def _listed(data: Sequence[Any], name: str, options: Mapping[str, Any]) -> Any:
    """A list as an array, or as items of the kind that its members show."""
    if not data:
        raise DataError(f"{name} is empty: give at least 3 items")
    first = data[0]
    if isinstance(first, str):
        if not all(isinstance(v, str) for v in data):
            raise DataError(f"{name} mixes texts and {_types(data)}: give items of one kind")
        return texts(list(data), name=name)
    if hasattr(first, "convert") and hasattr(first, "getbands"):  # pictures of Pillow
        return _pillow(data, name, options)
    if isinstance(first, bytes):
        raise UsageError(f"{name} holds bytes: decode them to strings, or pictures to arrays")
    if hasattr(first, "detach") or isinstance(first, np.ndarray):
        arrays = [_array(v, name) for v in data]
        if len({a.shape for a in arrays}) > 1:
            shapes = ", ".join(map(str, sorted({a.shape for a in arrays})[:3]))
            raise DataError(f"{name}: items differ in shape ({shapes}): resize them, or {WRAP} (clips of sound may)")
        stacked = np.stack(arrays)
        if hasattr(first, "detach") and stacked.ndim == 4 and stacked.shape[1] in (1, 2, 3, 4):
            stacked = np.moveaxis(stacked, 1, -1)
        return stacked[..., 0] if stacked.ndim == 4 and stacked.shape[-1] == 1 else stacked
    if isinstance(first, list | tuple):
        widths = {len(row) if isinstance(row, list | tuple) else 0 for row in data}
        if len(widths) > 1:
            raise DataError(
                f"{name}: rows differ in length ({', '.join(map(str, sorted(widths)[:5]))}): pad or cut them"
            )
        if any(isinstance(v, str) for v in first):
            raise UsageError(f"{name} holds rows of words: pass a DataFrame with names of columns")
        try:
            array = np.asarray(data)
        except ValueError as error:
            raise DataError(f"{name}: rows differ in shape ({error}): give numbers of one shape") from error
        return array.astype(np.float64) if array.ndim == 2 and array.dtype.kind in "iu" else array
    if all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in data):
        return np.asarray(data, dtype=np.float64)[:, None]
    raise UsageError(f"{name} holds {_types(data)}, which state no kind of items: {WRAP}")


def _types(data: Sequence[Any]) -> str:
    return ", ".join(sorted({type(v).__name__ for v in data[:1000]})[:4])


def _pillow(data: Sequence[Any], name: str, options: Mapping[str, Any]) -> Items:
    """Pictures of Pillow; options are those of pictures in files."""
    shape = Shape.of(**{k: v for k, v in options.items() if k in ("size", "crop", "grey")})
    arrays = [np.asarray(shaped(flat(one, name), shape)) for one in data]
    if len({a.shape[:2] for a in arrays}) > 1:
        raise DataError(f"{name}: pictures differ in size: pass size=64 to scale and crop them")
    if len({a.shape for a in arrays}) > 1:
        arrays = [np.repeat(a[..., None], 3, -1) if a.ndim == 2 else a for a in arrays]
    return images(np.stack(arrays), name=name)


def from_torch(data: Any, on_disk: bool = False) -> Items:
    """The items of a map-style torch Dataset of x, of (x, label), or of mappings.

    x may be a PIL image, a uint8 tensor (C, H, W) or array (H, W) or (H, W, C), a float tensor (C, H, W) in [0, 1], a
    vector, a sequence of whole numbers (tokens), or a string.

    Args:
        on_disk: leave the items where they are, and read each when it is needed.

    Raises:
        DataError: empty, items of different shapes, or of a type that fits no kind.
    """
    name = type(data).__name__
    try:
        n = len(data)
    except TypeError as error:
        raise DataError(f"{name} has no length: give a map-style Dataset, or save its items to a file") from error
    if n == 0:
        raise DataError(f"{name} is empty: give at least 3 items")
    with reading(name, "data set", "mend its __getitem__"):
        rows = [data[i] for i in range(n)] if not on_disk else [data[0]]
    if on_disk:
        from pofx.data.torch_items import torch_items

        return torch_items(data, rows[0], name)
    labels: Any = None
    if isinstance(rows[0], Mapping):
        return _mapped(rows, name)
    if isinstance(rows[0], tuple | list) and rows[0] and not np.isscalar(rows[0][0]):
        if len(rows[0]) > 2:
            raise UsageError(f"{name} yields {len(rows[0])} values for each item: give x, or x and its label")
        labels = [row[1] for row in rows] if len(rows[0]) == 2 else None
        rows = [row[0] for row in rows]
    elif isinstance(rows[0], tuple | list) and len(rows[0]) == 2 and isinstance(rows[0][0], str):
        labels, rows = [row[1] for row in rows], [row[0] for row in rows]
    if labels is not None:
        labels = np.asarray([v.item() if hasattr(v, "item") else v for v in labels])
    return _stacked(rows, labels, name)


def _mapped(rows: Sequence[Mapping[str, Any]], name: str) -> Items:
    """Items that are mappings: a picture and its label, else rows of a table."""
    x = next((k for k in PICTURES if k in rows[0] and np.ndim(rows[0][k]) > 0), None)
    if x is None:
        return table_of(pd.DataFrame([dict(row) for row in rows]), None, None, name)
    y = next((k for k in LABELS if k in rows[0] and k != x), None)
    return _stacked([row[x] for row in rows], None if y is None else np.asarray([row[y] for row in rows]), name)


def _stacked(rows: Sequence[Any], labels: Any, name: str) -> Items:
    if isinstance(rows[0], str):
        return texts(list(rows), labels=labels, name=name)
    array = _listed(list(rows), name, {})
    if isinstance(array, Items):
        return Items(array.kind, array.values, *with_labels(labels, len(array), name, dict(array.facts)))
    if array.ndim == 2 and array.dtype.kind in "iu" and hasattr(rows[0], "shape"):
        return tokens(array, labels=labels, name=name)
    if array.ndim == 2:
        return points(array, labels=labels, name=name)
    if array.ndim == 1:
        return points(array[:, None], labels=labels, name=name)
    return images(array, labels=labels, name=name)


def column_of(names: Sequence[str], wanted: str | None, known: Sequence[str], what: str) -> str | None:
    """The wanted column, or the first known one that there is."""
    if wanted is not None:
        if wanted not in names:
            raise unknown(f"column of {what}", wanted, names)
        return wanted
    return next((k for k in known if k in names), None)


def is_classes(part: Any) -> bool:
    """Whether a part of an event is an array of classes (n, …): whole numbers in two or more axes."""
    return (
        not isinstance(part, Items | pd.DataFrame | pd.Series)
        and np.ndim(part) > 1
        and np.asarray(part).dtype.kind in "iu"
    )


def as_part(part: Any, name: str) -> Items:
    """A part of an event as items of the kind that it is: arrays of classes with the counts of each of their places."""
    if isinstance(part, Items):
        return part
    if isinstance(part, pd.DataFrame):
        return table_of(part, None, None, f"the part {name}")
    if is_classes(part):
        array = np.asarray(part)
        array = array.reshape(len(array), -1)
        own = {"classes": [int(k) + 1 for k in array.max(0, initial=0)]}  # of every place
        return replace(tokens(array, name=name), facts=own)
    if np.ndim(part) == 2 and np.asarray(part).dtype.kind == "f":
        return points(np.asarray(part), name=name)
    return as_items(part)
