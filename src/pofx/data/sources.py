"""Where data comes from: one function for a built-in name, a file, a folder or an object in memory.

Built-in data sets are found by scanning this folder for modules with a tuple `SOURCES`; there is no list of names.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from pofx.core.discovery import modules
from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.items import Items
from pofx.data.dataset import Dataset, Source, split
from pofx.data.files import contents, read, suffixes
from pofx.data.kind import joined, kinds
from pofx.data.kinds.table import table_with_label
from pofx.data.loaded import from_torch


@cache
def built_in() -> dict[str, Source]:
    """Every built-in data set by name."""
    found = [source for module in modules("pofx.data") for source in vars(module).get("SOURCES", ())]
    return {source.name: source for source in sorted(found, key=lambda s: s.name)}


def catalogue() -> list[dict[str, Any]]:
    """A row per built-in data set: name, kind, n, summary, download (it must be fetched, unless in $POFX_DATA)."""
    keys = ("name", "kind", "n", "summary", "download")
    return [{key: getattr(source, key) for key in keys} for source in built_in().values()]


def load(data: Any, *, seed: int = 0, label: str | None = None) -> Dataset:
    """The data set that `data` names or holds, split into training, validation and test.

    Args:
        data: a built-in name; a path (.npz, .npy, .csv, .parquet, .txt, .wav, a folder or zip of images or sound); a
            DataFrame; a torch Dataset of x or (x, y); Items made by `pofx.images`, `pofx.audio`, `pofx.table`,
            `pofx.points` or `pofx.tokens`; a Dataset.
        seed: of the split. Leave it alone to compare models: the test split is then always the same.
        label: the column (of a table) or array (of an .npz file) that holds the labels.

    Raises:
        UsageError: nobody knows the name, or `label` does not exist.
        DataError: the file is missing, damaged, empty, not finite or of another type; the message names it.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str | os.PathLike):
        found = _find(data)
        return found.load(seed) if isinstance(found, Source) else read(found, seed=seed, label=label)
    items = _in_memory(data, label)
    return split(items, items.kind, seed=seed)


def whole(data: Any, *, label: str | None = None) -> Items:
    """Every item that `data` names or holds, in the order of the file or object: what a user has scored or encoded.

    One item is enough. Where splits are stated they follow one another: training, validation, test. Arguments and
    errors are those of `load`.
    """
    if isinstance(data, str | os.PathLike):
        found = _find(data)
        if isinstance(found, Source):
            data = found.load(0)
        else:
            items = contents(found, label)
            return items if isinstance(items, Items) else joined(items)
    if isinstance(data, Dataset):
        return joined(list(data.splits().values()))
    return _in_memory(data, label)


def _in_memory(data: Any, label: str | None) -> Items:
    if isinstance(data, Items):
        return data
    if isinstance(data, pd.DataFrame) and label is not None:
        return table_with_label(data, label, "the DataFrame")
    if hasattr(data, "detach"):  # a torch tensor, without importing torch
        data = data.detach().cpu().numpy()
    for kind in kinds().values():
        found = kind.of_object(data, f"the {type(data).__name__}")
        if found is not None:
            return found
    if hasattr(data, "__getitem__") and type(data).__module__.split(".")[0] not in ("numpy", "builtins"):
        return from_torch(data)
    shape = getattr(data, "shape", None)
    raise UsageError(
        f"data must state its type (got {type(data).__name__}{'' if shape is None else f' of shape {tuple(shape)}'}): "
        "wrap it in pofx.images, pofx.table, pofx.points, pofx.tokens, pofx.texts or pofx.audio"
    )


def _find(data: str | os.PathLike[str]) -> Source | Path:
    """The built-in source of a name, or the path of a file or folder."""
    names = built_in()
    if isinstance(data, str) and data in names:
        return names[data]
    path = Path(data).expanduser()
    if path.exists():
        return path
    if not isinstance(data, str) or path.suffix.lower() in suffixes() or path.parent != Path("."):
        raise DataError(f"there is no file or folder {data}: check the path (it was read from {Path.cwd().name}/)")
    raise unknown("data set", data, names)
