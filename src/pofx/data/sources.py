"""Where data comes from: one function for a built-in name, a file, a folder or an object in memory.

Built-in data sets are found by scanning this folder for modules with a tuple `SOURCES`; there is no list of names.
"""

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pofx.core.discovery import modules
from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.items import Items
from pofx.data.conditions import LABEL, as_items, columns_of, conditioned, of_parts
from pofx.data.dataset import Dataset, Source, dataset, held_out, split
from pofx.data.files import contents, read, suffixes
from pofx.data.frames import ENDINGS, read_frame
from pofx.data.in_memory import in_memory
from pofx.data.kind import joined, kind_of, named, reading_options, take
from pofx.data.reading_options import check_reading
from pofx.data.saved import saved
from pofx.data.weights import weighted, with_weight


@cache
def built_in() -> dict[str, Source]:
    """Every built-in data set by name."""
    found = [source for module in modules("pofx.data") for source in vars(module).get("SOURCES", ())]
    return {source.name: source for source in sorted(found, key=lambda s: s.name)}


def catalogue() -> list[dict[str, Any]]:
    """A row per built-in data set: name, kind, n, summary, download (it must be fetched, unless in $POFX_DATA)."""
    keys = ("name", "kind", "n", "summary", "download")
    return [{key: getattr(source, key) for key in keys} for source in built_in().values()]


def load(
    data: Any,
    *,
    seed: int = 0,
    label: str | None = None,
    condition: Any = None,
    weight: Any = None,
    reading: Mapping[str, Any] | None = None,
) -> Dataset:
    """The data set that `data` names or holds, split into training, validation and test.

    Args:
        data: a built-in name; a path (an array, a table, texts, pictures, sound: a file, a folder or a zip); a
            DataFrame, an array, a list, a mapping of columns or of x and y; a torch or 🤗 Dataset; Items made by
            `pofx.images`, `pofx.audio`, `pofx.table`, `pofx.points` or `pofx.tokens`; a Dataset.
        seed: of the split. Leave it alone to compare models: the test split is then always the same.
        label: the column (of a table) or array (of an .npz file) that holds the labels.
        condition: what a model is given with each item: "label", a column or a list of columns of the table, or items
            beside the data, one for each (see `pofx.data.conditions`).
        weight: how much each item counts: a column of the table, which is not modelled, or one number for each item.
        reading: options of reading by name, such as {"size": 64} of pictures or {"separator": ";"} of tables; see
            `pofx.data.kind.reading_options`.

    Raises:
        UsageError: nobody knows the name, or `label`, an option or a column of the condition does not exist.
        DataError: the file is missing, damaged, empty, not finite or of another type; the message names it.
    """
    reading = {k: v for k, v in (reading or {}).items() if v is not None}
    check_reading(reading, reading_options())
    if isinstance(weight, str):
        return weighted(load(data, seed=seed, label=label, condition=condition, reading=reading), weight)
    if isinstance(data, Dataset):
        _refuse_reading(reading, "a data set in memory")
        return _with_weights(given(data, condition), weight)
    if isinstance(data, str | os.PathLike):
        found = _find(data)
        if isinstance(found, Source):
            _refuse_reading(reading, found.name)
            return _with_weights(given(found.load(seed), condition), weight)
        stored = saved(found)
        if stored is None:
            return read(found, seed=seed, label=label, condition=condition, weight=weight, options=reading)
        made = in_memory(stored, label, condition, reading)
        return _split(made, seed, weight, str(found), found.name, _facts(found, label, condition, reading))
    made = in_memory(data, label, condition, reading)
    return _split(made, seed, weight, "", "given by the caller", {"reading": reading} if reading else {})


def _facts(folder: Path, label: str | None, condition: Any, reading: Mapping[str, Any]) -> dict[str, Any]:
    """How a folder was read, for the card."""
    found: dict[str, Any] = {"path": folder.name, **({"reading": dict(reading)} if reading else {})}
    found |= {} if label is None else {"label": label}
    return found | ({} if columns_of(condition) is None else {"condition": columns_of(condition)})


def _split(
    made: Items | tuple[Items, ...], seed: int, weight: Any, name: str, source: str, facts: dict[str, Any]
) -> Dataset:
    """Items, or the splits that are stated, as a data set."""
    if isinstance(made, Items):
        made = made if weight is None else with_weight(made, weight)
        return split(made, name or made.kind, seed=seed, source=source, facts=facts or None)
    about: dict[str, Any] = {"source": source, "licence": "unknown", "facts": facts or None}
    if len(made) == 3:
        return _with_weights(dataset(*made, name or made[0].kind, **about), weight)
    if weight is not None:
        raise UsageError("weights of two splits are not divided: name a column, or give three splits")
    train, validation = held_out(made[0], seed)
    return dataset(train, validation, made[1], name or made[0].kind, **about)


def _with_weights(data: Dataset, weight: Any) -> Dataset:
    return data if weight is None else weighted(data, weight)


def _refuse_reading(reading: Mapping[str, Any], name: str) -> None:
    if reading:
        raise UsageError(f"{', '.join(reading)} change how files are read, which {name} is not: leave them out")


def given(data: Dataset, condition: Any) -> Dataset:
    """A data set whose items have conditions; those beside the data are for its items in the order of `whole`."""
    named = condition == LABEL if isinstance(condition, str) else columns_of(condition) is not None
    known = data.train.condition is not None and not of_parts(condition, data.train)
    if condition is None or (named and known):
        return data
    splits = data.splits()
    if not isinstance(condition, str):
        every = conditioned(joined(list(splits.values())), condition, data.card.name)
        ends = np.cumsum([len(items) for items in splits.values()])
        parts = [take(every, np.arange(b - len(items), b)) for items, b in zip(splits.values(), ends, strict=True)]
    else:
        parts = [conditioned(items, condition, data.card.name) for items in splits.values()]
    train, validation, test = parts
    return Dataset(train, validation, test, data.card)


def whole(
    data: Any,
    *,
    label: str | None = None,
    condition: Any = None,
    weight: str | None = None,
    reading: Mapping[str, Any] | None = None,
) -> Items:
    """Every item that `data` names or holds, in the order of the file or object: what a user has scored or encoded.

    One item is enough. Where splits are stated they follow one another: training, validation, test. Arguments and
    errors are those of `load`, but that a column of weights may be missing.
    """
    check_reading(reading or {}, reading_options())
    if weight is not None:
        every = whole(data, label=label, condition=condition, reading=reading)
        return replace(every, values=kind_of(every).without_columns(every.values, [weight])[0])
    if isinstance(data, str | os.PathLike):
        found = _find(data)
        if isinstance(found, Source):
            data = found.load(0)
        else:
            stored = saved(found)
            items = (
                contents(found, label, condition, reading)
                if stored is None
                else in_memory(stored, label, condition, reading or {})
            )
            return items if isinstance(items, Items) else joined(items)
    if isinstance(data, Dataset):
        return conditioned(joined(list(data.splits().values())), condition)
    made = in_memory(data, label, condition, reading or {})
    return made if isinstance(made, Items) else joined(made)


def read_conditions(
    path: Path, shape: tuple[int, ...] | None = None, reading: Mapping[str, Any] | None = None
) -> Items:
    """The conditions in a file, one for each item: the rows of a table, or items of any other kind.

    Args:
        shape: (channels, height, width) of the pictures that a run takes: others are made so, as `reading` states.

    Warns:
        UserWarning: pictures are scaled.
    """
    if path.suffix.lower() in ENDINGS:
        return as_items(read_frame(path))
    pictures = shape is not None and (path.is_dir() or path.suffix.lower() in named("image").members)
    try:
        found = contents(path)
    except DataError:
        if not pictures:
            raise
        found = ()
    if shape is not None and pictures and not (isinstance(found, Items) and _are(found, shape)):
        grey, sides = shape[0] == 1, list(shape[1:])
        options = {"crop": (reading or {}).get("crop", True), "grey": grey, "size": sides}
        found = contents(path, options=options)
        warnings.warn(
            f"the pictures of {path} are made {sides[0]} x {sides[1]}{', grey' if grey else ''}, as those of training",
            UserWarning,
            stacklevel=2,
        )
    if not isinstance(found, Items):
        raise UsageError(f"{path} states a training and a test split: give a file of conditions alone")
    return as_items(found)


def _are(items: Items, shape: tuple[int, ...]) -> bool:
    """Whether pictures have this shape (channels, height, width)."""
    own = items.values.shape[1:]
    return tuple(own) == (shape[1:] if shape[0] == 1 else (*shape[1:], shape[0]))


def _find(data: str | os.PathLike[str]) -> Source | Path:
    """The built-in source of a name, or the path of a file or folder."""
    names = built_in()
    if isinstance(data, str) and data in names:
        return names[data]
    if isinstance(data, str) and "://" in data:
        raise UsageError(f"data must be on this machine (got {data}): download it first, then give the file")
    if isinstance(data, str) and not data.strip():
        raise UsageError("data must have a name (got an empty one): give a built-in name, a file or a folder")
    path = Path(data).expanduser()
    if path.exists():
        return path
    if not isinstance(data, str) or path.suffix.lower() in suffixes() or path.parent != Path("."):
        raise DataError(f"there is no file or folder {data}: check the path (it was read from {Path.cwd().name}/)")
    raise unknown("data set", data, names)
