"""Data without a name, stored for the jobs of a comparison: what a kind packs as arrays, the rest as JSON."""

from pathlib import Path
from typing import Any

import numpy as np

from pofx.core.errors import CorruptError
from pofx.core.files import read_json, write_json
from pofx.core.items import Items
from pofx.data.arrays import stored_arrays, write_arrays
from pofx.data.dataset import SPLITS, Card, Dataset
from pofx.data.kind import kind_of, named

VALUES = "values."  # before the names of a kind's own arrays


def freeze(dataset: Dataset, folder: Path) -> None:
    """Store a data set in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, items in dataset.splits().items():
        _store(items, folder, name)
    write_json(folder / "card.json", dataset.card.to_json())


def thaw(folder: Path) -> Dataset:
    """The data set that `freeze` stored.

    Raises:
        CorruptError: a file is missing or damaged.
    """
    parts = {name: _stored(folder, name) for name in SPLITS}
    return Dataset(parts["train"], parts["validation"], parts["test"], Card.from_json(read_json(folder / "card.json")))


def _store(items: Items, folder: Path, name: str) -> None:
    arrays = {VALUES + key: array for key, array in kind_of(items).pack(items.values).items()}
    for key in ("labels", "weight"):
        if getattr(items, key) is not None:
            arrays[key] = np.asarray(getattr(items, key))
    write_arrays(folder / f"{name}.npz", arrays)
    plain: dict[str, Any] = {"kind": items.kind, "facts": dict(items.facts), "condition": items.condition is not None}
    write_json(folder / f"{name}.json", plain)
    if items.condition is not None:
        _store(items.condition, folder, f"{name}.condition")


def _stored(folder: Path, name: str) -> Items:
    plain = read_json(folder / f"{name}.json")
    arrays = stored_arrays(folder / f"{name}.npz")
    if arrays is None:
        raise CorruptError(f"{folder / name}.npz is missing or damaged: delete {folder} and call compare again")
    values = named(plain["kind"]).unpack({k[len(VALUES) :]: v for k, v in arrays.items() if k.startswith(VALUES)})
    condition = _stored(folder, f"{name}.condition") if plain["condition"] else None
    return Items(plain["kind"], values, arrays.get("labels"), plain["facts"], condition, arrays.get("weight"))
