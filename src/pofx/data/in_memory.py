"""Objects in memory as items: arrays, tensors, tables, lists, mappings, generators, torch and 🤗 data sets as they are.

What an object is follows from its type; where two kinds would fit, it is refused with the wrappers that state it.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.items import Items
from pofx.data.conditions import as_items, conditioned
from pofx.data.files import from_array, of_arrays
from pofx.data.foreign import as_frame
from pofx.data.kind import kinds
from pofx.data.kinds.points import points
from pofx.data.kinds.table import table_of
from pofx.data.kinds.tokens import tokens
from pofx.data.listed import SHAPES, WRAP, listed, plain_array, torch_array
from pofx.data.named import TABLES, Rows, items_of
from pofx.data.pictures import is_drawn
from pofx.data.torch_items import torch_items

PLAIN = (
    "numpy",
    "builtins",
    "scipy",
    "pandas",
    "polars",
    "pyarrow",
    "pofx",
)  # libraries whose objects are no data sets
MOST = 10_000_000  # items that a generator may yield
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
    library = type(data).__module__.split(".")[0]
    if isinstance(data, Mapping) and (library == "datasets" or set(data) <= {*SPLITS["train"]}):
        data = _stated(data)
    if isinstance(data, Mapping) and _splits(data):
        parts = {name: in_memory(part, label, condition, options) for name, part in _splits(data).items()}
        found = tuple(_alike(parts[name]) for name in ("train", "validation", "test") if name in parts)
        if len({part.kind for part in found}) > 1:
            raise DataError(f"the splits are of several kinds ({', '.join(p.kind for p in found)}): give one kind")
        return found
    frame = as_frame(data)
    if frame is not None:
        chosen = {k: v for k, v in options.items() if k in ("columns", "drop", "schema")}
        _refuse({k: v for k, v in options.items() if k not in chosen}, "tables in memory")
        return table_of(frame, label, condition, f"the {type(data).__name__}", **chosen)
    made, condition = _typed(data, label, condition, options)
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


def _stated(data: Mapping[Any, Any]) -> Any:
    """Splits as they are stated, without others than those of training, validation and test; one alone as it is.

    Raises:
        UsageError: there is no training split.
    """
    name, known = f"the {type(data).__name__}", {key for keys in SPLITS.values() for key in keys}
    if not any(key in data for key in SPLITS["train"]):
        what = f"the splits {', '.join(map(str, data))}" if data else "no splits"
        mend = f"pass one of them, data['{next(iter(data))}']" if data else "load the data set again"
        raise UsageError(f"{name} must have a split called train (got {what}): {mend}")
    others = [str(key) for key in data if key not in known]
    if others:
        warnings.warn(f"{name}: splits left out: {', '.join(others)}", UserWarning, stacklevel=3)
    kept = {key: part for key, part in data.items() if key in known}
    alone = next(iter(kept.values())) if len(kept) == 1 else None
    return kept if alone is None or np.ndim(alone) == 1 and not _rows(alone) else alone


def _rows(data: Any) -> bool:
    """Whether an object is a list of items or a data set, and no column of a table."""
    return type(data).__module__.split(".")[0] not in ("builtins", "numpy", "pandas", "torch")


def _splits(data: Mapping[Any, Any]) -> dict[str, Any]:
    """The parts of a mapping whose keys are all names of splits."""
    found = {name: data[key] for name, keys in SPLITS.items() for key in keys if key in data}
    return found if "train" in found and len(found) == len(data) > 1 else {}


def is_data_set(data: Any) -> bool:
    """Whether an object is a 🤗 or torch Dataset, a loader of one, or a list of pictures: items that are no array."""
    library = type(data).__module__.split(".")[0]
    if isinstance(data, list | tuple):
        return len(data) > 0 and is_drawn(data[0])
    return library == "datasets" or _by_index(data, library) or (hasattr(data, "dataset") and hasattr(data, "sampler"))


def _by_index(data: Any, library: str) -> bool:
    """Whether an object is a map-style torch Dataset: whatever has items by number, but arrays, tables and mappings."""
    plain = isinstance(data, Items | Mapping | Sequence) or hasattr(data, "detach") or hasattr(data, "__array__")
    return hasattr(data, "__getitem__") and hasattr(data, "__len__") and not plain and library not in PLAIN


def _typed(data: Any, label: str | None, condition: Any, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """An object as items of the kind that it must be, and the condition, where it named fields what these hold."""
    name = f"the {type(data).__name__}"
    library = type(data).__module__.split(".")[0]
    if isinstance(data, Mapping):
        plain = {str(k): plain_array(v, f"{name}, {k}") for k, v in data.items()}
        return of_arrays(plain, name, label, options), condition
    if library == "datasets":
        from pofx.data.arrow import from_datasets

        return from_datasets(data, label, condition, options)
    if isinstance(data, list | tuple) and data and isinstance(data[0], Mapping):
        return items_of(Rows(data, name), label, condition, options)
    if hasattr(data, "dataset") and hasattr(data, "batch_size"):
        return _typed(data.dataset, label, condition, options)  # of a DataLoader
    if _by_index(data, library):
        for kind in kinds().values():
            found = kind.of_object(data, name)
            if found is not None:
                return found, condition
        wrong = {k: v for k, v in options.items() if k not in (*SHAPES, *TABLES, "on_disk")}
        _refuse(wrong, f"objects such as {name}")
        return torch_items(data, label, condition, options)
    if label is not None:
        raise UsageError(f"{name} has no column '{label}': pass labels= to pofx.images and the like, or a DataFrame")
    if isinstance(data, Iterator) or (hasattr(data, "__iter__") and not hasattr(data, "__len__")):
        data = list(islice(data, MOST + 1))
        if len(data) > MOST:
            raise DataError(f"{name} yields more than {MOST:,} items: save them to a file")
        if not data:
            raise DataError(f"{name} yields nothing: give at least 3 items (a generator can be read only once)")
    if hasattr(data, "detach"):  # a torch tensor, without importing torch
        data, library = torch_array(data), "numpy"
    if hasattr(data, "toarray") and library == "scipy":
        raise UsageError(f"{name} is sparse: pass data.toarray()")
    if isinstance(data, list | tuple | pd.Series):
        data = listed(list(data), name, options)
        if isinstance(data, Items):
            return data, condition
    shaped_by = {k: v for k, v in options.items() if k in ("kind", "levels")}
    if shaped_by and isinstance(data, np.ndarray):
        return from_array(data, None, name, options.get("levels"), options.get("kind")), condition
    _refuse({k: v for k, v in options.items() if k != "on_disk"}, f"objects such as {name}")
    for kind in kinds().values():
        found = kind.of_object(data, name)
        if found is not None:
            return found, condition
    shape = getattr(data, "shape", None)
    raise UsageError(
        f"data must state its type (got {type(data).__name__}{'' if shape is None else f' of shape {tuple(shape)}'}): "
        f"{WRAP}"
    )


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
