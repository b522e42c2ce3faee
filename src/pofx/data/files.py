"""Files as items: .npz and .npy arrays, .csv and .parquet tables, .txt texts; folders and zips of images or sound.

What an array is follows from its type and shape: integers (n, H, W) or (n, H, W, C) are images, numbers (n, d) a table.
Nothing is ever unpickled.
"""

import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.items import Items
from pofx.data.conditions import columns_of, conditioned
from pofx.data.dataset import Dataset, dataset, split
from pofx.data.kind import Kind, kind_of, kinds, take
from pofx.data.members import members
from pofx.data.pairs import is_paired, pairs

ARRAYS, ZIP = (".npz", ".npy"), ".zip"
IMAGES, LABELS = ("x", "images", "data", "X", "arr_0"), ("y", "labels", "label", "target")


def read(path: Path, *, seed: int = 0, label: str | None = None, condition: Any = None) -> Dataset:
    """The data set in a file or folder; the splits of an .npz that states them (`x_train`, `x_test`) are used.

    Raises:
        DataError: empty, damaged, not finite, or of a type nobody reads.
    """
    found = contents(path, label, condition)
    facts: dict[str, Any] = {"path": path.name, **({} if label is None else {"label": label})}
    columns = columns_of(condition)
    if columns is not None:
        facts["condition"] = columns
    if isinstance(found, Items):
        found, more = kind_of(found).distinct(found)
        facts |= more
        return split(found, str(path), seed=seed, source=path.name, facts=facts)
    return official(*found, str(path), source=path.name, licence="unknown", facts=facts)


def contents(path: Path, label: str | None = None, condition: Any = None) -> Items | tuple[Items, Items]:
    """The items of a file or folder in their order, or its training and test items where it states them."""
    if is_paired(path, condition):
        return pairs(path, condition)
    suffix = path.suffix.lower()
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes): give a file with items in it")
    reader = next((kind for kind in kinds().values() if suffix in (*kind.reads, *kind.members)), None)
    if path.is_dir() or suffix == ZIP:
        reader = _members_kind(path)
    if label is not None and suffix != ".npz" and not (reader and reader.labelled):
        raise UsageError(f"{path.name} has no column '{label}': label names a column of a table or an array of an .npz")
    if suffix == ".npz" and not path.is_dir():
        found = _npz(path, label)
        if not isinstance(found, Items):
            return tuple(conditioned(part, condition, path.name) for part in found)  # type: ignore[return-value]
        return conditioned(found, condition, path.name)
    if suffix == ".npy" and not path.is_dir():
        return conditioned(from_array(_npy(path), None, path.name), condition, path.name)
    if reader is None:
        raise DataError(
            f"{path}: no reader for {suffix or 'a file like this'}: give {', '.join(suffixes())} or a folder"
        )
    if reader.labelled:
        return reader.read(path, label=label, condition=condition)
    read_items = reader.read(path)
    assert isinstance(read_items, Items)
    return conditioned(read_items, condition, path.name)


def suffixes() -> tuple[str, ...]:
    """The endings of the files that some kind reads."""
    return (*ARRAYS, *(e for kind in kinds().values() for e in (*kind.reads, *kind.members)), ZIP)


def _members_kind(path: Path) -> Kind:
    """The kind of which a folder or zip holds most files."""
    able = [kind for kind in kinds().values() if kind.members]
    with members(path, tuple(e for kind in able for e in kind.members)) as (names, _):
        endings = [PurePosixPath(name).suffix.lower() for name in names]
    if not endings:
        known = ", ".join(e for kind in able for e in kind.members)
        raise DataError(f"{path} holds no files of items: give files ending in {known}")
    return max(able, key=lambda kind: sum(e in kind.members for e in endings))


def from_array(array: np.ndarray, labels: np.ndarray | None, name: str, levels: int | None = None) -> Items:
    """An array as items, by its type and shape.

    Raises:
        DataError: neither images nor a table.
    """
    facts = {} if levels is None else {"levels": levels}
    for kind in kinds().values():
        found = kind.of_array(array, labels, name, facts)
        if found is not None:
            return found
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
