"""Data without a name, stored for the jobs of a comparison: arrays as .npz, tables as .parquet, the rest as JSON."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.files import read_json, write, write_json
from pofx.core.representation import Items
from pofx.data.dataset import SPLITS, Card, Dataset
from pofx.data.passages import Passages


def freeze(dataset: Dataset, folder: Path) -> None:
    """Store a data set in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, items in dataset.splits().items():
        plain: dict[str, Any] = {"kind": items.kind, "facts": dict(items.facts), "values": "json"}
        arrays = {} if items.labels is None else {"labels": np.asarray(items.labels)}
        if isinstance(items.values, pd.DataFrame):
            plain["values"] = "parquet"
            items.values.to_parquet(folder / f"{name}.parquet")
        elif isinstance(items.values, np.ndarray) and items.values.dtype != object:
            plain["values"] = "array"
            arrays["values"] = items.values
        elif isinstance(items.values, Passages):
            plain |= {"values": "passages", "passages": items.values.to_json()}
        else:
            plain["list"] = [v.tolist() if isinstance(v, np.ndarray) else v for v in items.values]
        write_arrays(folder / f"{name}.npz", arrays)
        write_json(folder / f"{name}.json", plain)
    write_json(folder / "card.json", dataset.card.to_json())


def thaw(folder: Path) -> Dataset:
    """The data set that `freeze` stored."""
    parts = {}
    for name in SPLITS:
        plain = read_json(folder / f"{name}.json")
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            labels = arrays["labels"] if "labels" in arrays.files else None
            values: Any = arrays["values"] if plain["values"] == "array" else plain.get("list")
        if plain["values"] == "passages":
            values = Passages.from_json(plain["passages"])
        if plain["values"] == "parquet":
            values = pd.read_parquet(folder / f"{name}.parquet")
        parts[name] = Items(plain["kind"], values, labels, plain["facts"])
    return Dataset(parts["train"], parts["validation"], parts["test"], Card.from_json(read_json(folder / "card.json")))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as .npz, aside and then renamed."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]

    def fill(aside: Path) -> None:
        aside.write_bytes(buffer.getvalue())

    write(path, fill)
