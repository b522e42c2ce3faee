"""Files as items: .npz and .npy arrays, .csv and .parquet tables, .txt texts; folders and zips of images or sound.

What an array is follows from its type and shape: integers (n, H, W) or (n, H, W, C) are images, numbers (n, d) a table.
Nothing is ever unpickled.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.representation import Items
from pofx.data import items as of
from pofx.data.dataset import Dataset, dataset, split, take
from pofx.data.members import members
from pofx.data.molecules import SUFFIX, read_molecules
from pofx.data.passages import Passages
from pofx.data.pictures import SUFFIXES as PICTURES
from pofx.data.pictures import read_pictures
from pofx.data.recordings import SUFFIXES as RECORDINGS
from pofx.data.recordings import read_recordings
from pofx.data.text import distinct, read_text

SUFFIXES = (".npz", ".npy", ".csv", ".parquet", ".txt", SUFFIX, ".zip", *RECORDINGS)
IMAGES, LABELS = ("x", "images", "data", "X", "arr_0"), ("y", "labels", "label", "target")


def read(path: Path, *, seed: int = 0, label: str | None = None) -> Dataset:
    """The data set in a file or folder; splits that an .npz states (`x_train`, `x_test`) are kept.

    Raises:
        DataError: empty, damaged, not finite, or of a type nobody reads.
    """
    found = contents(path, label)
    facts: dict[str, Any] = {"path": path.name, **({} if label is None else {"label": label})}
    if isinstance(found, Items):
        if path.suffix.lower() == ".txt" and not isinstance(found.values, Passages):
            found, facts["repeats_removed"] = distinct(found)
        return split(found, str(path), seed=seed, source=path.name, facts=facts)
    return official(*found, str(path), source=path.name, licence="unknown", facts=facts)


def contents(path: Path, label: str | None = None) -> Items | tuple[Items, Items]:
    """The items of a file or folder in their order, or its training and test items where it states them."""
    suffix = path.suffix.lower()
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes): give a file with items in it")
    if label is not None and (path.is_dir() or suffix not in (".csv", ".parquet", ".npz")):
        raise UsageError(f"{path.name} has no column '{label}': label names a column of a table or an array of an .npz")
    if path.is_dir():
        return _members(path)
    if suffix == ".npz":
        return _npz(path, label)
    if suffix == ".zip":
        return _members(path)
    if suffix == ".npy":
        return from_array(_npy(path), None, path.name)
    if suffix in (".csv", ".parquet"):
        return of.table_with_label(_frame(path), label, path.name)
    if suffix == ".txt":
        return read_text(path)
    if suffix == SUFFIX:
        return read_molecules(path)
    if suffix in RECORDINGS:
        return read_recordings(path)
    raise DataError(f"{path}: nobody reads {suffix or 'a file like this'}: give {', '.join(SUFFIXES)} or a folder")


def _members(path: Path) -> Items:
    """The recordings or the pictures of a folder or zip: what there are more of."""
    with members(path, (*RECORDINGS, *PICTURES)) as (names, _):
        heard = sum(name.lower().endswith(RECORDINGS) for name in names)
    return read_recordings(path) if 2 * heard > len(names) else read_pictures(path)


def from_array(array: np.ndarray, labels: np.ndarray | None, name: str, levels: int | None = None) -> Items:
    """An array as items, by its type and shape.

    Raises:
        DataError: neither images nor a table.
    """
    if array.ndim == 2:
        return of.table(array, labels=labels, name=name)
    if array.ndim in (3, 4):
        high = int(array.max()) + 1 if array.size and np.issubdtype(array.dtype, np.integer) else 256
        return of.images(
            array, levels=levels or (256 if array.dtype == np.uint8 else max(high, 2)), labels=labels, name=name
        )
    raise DataError(f"{name} has shape {array.shape}: give images (n, H, W) or (n, H, W, C), or a table (n, d)")


def _npy(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            return np.asarray(np.load(file, allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    if "allow_pickle" in str(error) or "Object arrays" in str(error):
        return DataError(f"{path} holds Python objects (dtype object), which are never unpickled: save plain numbers")
    return DataError(f"{path} cannot be read, it is damaged or of another format ({error}): write it again")


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of an .npz file."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (ValueError, EOFError, OSError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def _npz(path: Path, label: str | None) -> Items | tuple[Items, Items]:
    found = arrays(path)
    if not found:
        raise DataError(f"{path} holds no arrays: save some with numpy.savez(path, x=…)")
    if label is not None and label not in found:
        raise unknown(f"array of {path.name}", label, found)
    levels = int(found["levels"]) if "levels" in found and found["levels"].size == 1 else None
    if "x_train" in found and "x_test" in found:
        return _stated_splits(found, path.name, levels)
    values = next((key for key in IMAGES if key in found), None)
    if values is None:
        if len(found) > 1:
            raise DataError(f"{path} holds {', '.join(found)}: call the items x (and labels y), or x_train, x_test")
        values = next(iter(found))
    labels = label or next((key for key in LABELS if key in found), None)
    return from_array(found[values], None if labels is None else found[labels], path.name, levels)


def _stated_splits(found: dict[str, np.ndarray], name: str, levels: int | None) -> tuple[Items, Items]:
    """The training and test items of an .npz, read as one, so that levels and class numbers mean the same in both."""
    parts = found["x_train"], found["x_test"]
    if parts[0].shape[1:] != parts[1].shape[1:]:
        raise DataError(f"{name}: x_train has shape {parts[0].shape}, x_test {parts[1].shape}: give items of one shape")
    labels = np.concatenate((found["y_train"], found["y_test"])) if "y_train" in found and "y_test" in found else None
    both = from_array(np.concatenate(parts), labels, name, levels)
    n = len(parts[0])
    return take(both, np.arange(n)), take(both, np.arange(n, len(both)))


def official(
    train: Items,
    test: Items,
    name: str,
    *,
    source: str,
    licence: str,
    summary: str = "",
    facts: dict[str, Any] | None = None,
) -> Dataset:
    """A data set whose test split is stated; the last tenth of its training items becomes the validation split."""
    n = len(train)
    held = max(1, min(n // 10, 5000))
    kept, last = take(train, np.arange(n - held)), take(train, np.arange(n - held, n))
    return dataset(kept, last, test, name, source=source, licence=licence, summary=summary, facts=facts)


def _frame(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_parquet(path)
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} has no columns: give a table with a header line") from error
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error
