"""Files as items: .npz and .npy arrays, tables, texts; folders and zips of images or sound; any of them packed.

What an array is follows from its type and shape: integers (n, H, W) or (n, H, W, C) are images, numbers (n, d) a table.
Nothing is ever unpickled. Arrays that are large stay on the disk (see `pofx.data.on_disk`).
"""

import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.items import Items
from pofx.data import on_disk
from pofx.data.bounded import PACKED, check_regular, read_npy, reading, unzipped
from pofx.data.conditions import LABEL, as_items, columns_of, conditioned, of_labels, once_each
from pofx.data.dataset import Dataset, dataset, held_out, split
from pofx.data.kind import Kind, kind_of, kinds, named, reading_options, take
from pofx.data.members import members
from pofx.data.numbers import some
from pofx.data.on_disk import Mapped, OnDisk, Windows
from pofx.data.pairs import is_paired, pairs
from pofx.data.reading_options import ARRAYS
from pofx.data.several import Several
from pofx.data.weights import with_weight

PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".ckpt")
LOOKED_AT = 1000  # files of a folder that are named where none is read
PLACEHOLDERS = {  # by how a file begins that is not what its name states
    b"version https://git-lfs": "is a pointer of Git LFS, no data: run git lfs pull",
    b"<!doctype html": "is a page of the web, no data: download the file itself",
    b"<html": "is a page of the web, no data: download the file itself",
}
ENDINGS, ZIP = (".npz", ".npy"), ".zip"
IMAGES, LABELS = ("x", "images", "data", "X", "arr_0"), ("y", "labels", "label", "target", "Y")
NOTES = ("levels", "rate", "label_names")  # arrays beside the items that state something about them


def read(
    path: Path,
    *,
    seed: int = 0,
    label: str | None = None,
    condition: Any = None,
    weight: Any = None,
    options: Mapping[str, Any] | None = None,
) -> Dataset:
    """The data set in a file or folder; the splits that it states (`x_train`, `x_test`; train/, test/) are used.

    Raises:
        DataError: empty, damaged, not finite, or of a type nobody reads.
    """
    found = contents(path, label, condition, options)
    facts: dict[str, Any] = {"path": path.name, **({} if label is None else {"label": label})}
    facts |= {"reading": dict(options)} if options else {}
    columns = columns_of(condition)
    if columns is not None:
        facts["condition"] = columns
    if weight is not None:
        if not isinstance(found, Items):
            raise UsageError(f"{path} states its splits: name the column of weights")
        found = with_weight(found, weight)
    if isinstance(found, Items):
        found, more = kind_of(found).distinct(found)
        facts |= more
        return split(found, str(path), seed=seed, source=path.name, facts=facts)
    if len(found) == 3:
        return dataset(*found, str(path), source=path.name, licence="unknown", facts=facts)
    if path.suffix.lower() in ENDINGS:
        return official(found[0], found[1], str(path), source=path.name, licence="unknown", facts=facts)
    train, validation = held_out(found[0], seed)
    return dataset(train, validation, found[1], str(path), source=path.name, licence="unknown", facts=facts)


def contents(
    path: Path, label: str | None = None, condition: Any = None, options: Mapping[str, Any] | None = None
) -> Items | tuple[Items, ...]:
    """The items of a file or folder in their order, or its (training, validation and) test items where it states them.

    Raises:
        DataError: as of `read`.
        UsageError: an option that this kind of file does not have.
    """
    check_regular(path)
    if is_paired(path, condition):
        return pairs(path, condition, options)
    suffix, given = path.suffix.lower(), dict(options or {})
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes): give a file with items in it")
    _check_content(path)
    if suffix in PACKED and path.is_file():
        return _packed(path, label, condition, given)
    reader = next((kind for kind in kinds().values() if suffix in (*kind.reads, *kind.members)), None)
    if path.is_dir() or suffix == ZIP:
        alone = _alone(path)
        if alone is not None:
            return _inner(path, alone, label, condition, given)
        reader = _members_kind(path)
    if label is not None and suffix != ".npz" and not (reader and reader.labelled):
        raise UsageError(f"{path.name} has no column '{label}': label names a column of a table or an array of an .npz")
    if suffix in ENDINGS and not path.is_dir():
        _check_options(given, set(ARRAYS), path.name)
        if suffix == ".npz":
            found, condition = _npz(path, label, condition, given)
        else:
            found = _one_array(path, given)
    elif reader is None and suffix in PICKLES:
        raise DataError(f"{path} may run any code when it is read: write it as .parquet, .csv or .npz")
    elif reader is None:
        raise DataError(
            f"{path}: no reader for {suffix or 'a file like this'}: write it as .csv, .parquet, .npz, .png, .wav or "
            ".txt (`pofx data` lists all endings), or give a folder"
        )
    else:
        kind = given.pop("kind", None)
        _check_options(given, {*reader.reading}, f"{reader.name} files ({path.name})")
        if reader.labelled:
            return _as_kind(reader.read(path, label=label, condition=condition, **given), kind, path.name)
        found = reader.read(path, **given)
    if not isinstance(found, Items):
        return tuple(conditioned(part, condition, path.name) for part in found)
    try:
        return conditioned(found, condition, path.name)
    except UsageError:
        if reader is None or not reader.photographic or not path.is_dir() or not isinstance(condition, str):
            raise
        names = sorted(one.name for one in path.iterdir() if one.is_dir())
        raise UsageError(
            f"{path} has no folder '{condition}' of pictures (its folders: {', '.join(names[:8]) or 'none'}): name one "
            "of them, a folder elsewhere, left or right where pictures lie side by side, or label"
        ) from None


def _check_options(given: Mapping[str, Any], known: set[str], what: str) -> None:
    for name in given:
        if name not in known:
            raise unknown(f"option of reading {what}", name, known or reading_options())


def _check_content(path: Path) -> None:
    """Refuse a file that holds something else in the place of the data."""
    if path.is_file():
        with path.open("rb") as file:
            begin = file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t").lower()
        for start, what in PLACEHOLDERS.items():
            if begin.startswith(start):
                raise DataError(f"{path} {what}")


def suffixes() -> tuple[str, ...]:
    """The endings of the files that some kind reads."""
    return (*ENDINGS, *(e for kind in kinds().values() for e in (*kind.reads, *kind.members)), ZIP, *PACKED)


def _packed(path: Path, label: str | None, condition: Any, options: dict[str, Any]) -> Items | tuple[Items, ...]:
    """The items of a file within a .gz, .bz2 or .xz, unpacked into a temporary folder."""
    inner = PurePosixPath(path.stem)
    if inner.suffix.lower() not in suffixes() or inner.suffix.lower() in (ZIP, *PACKED):
        raise DataError(
            f"{path}: what is packed must be one file with an ending that is read (got '{inner.name}'): unpack it"
        )
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / inner.name
        with unpacked.open("wb") as file:
            unzipped(path, file)
        found = contents(unpacked, label, condition, {"on_disk": False, **options} if _is_array(inner) else options)
    return found


def _alone(path: Path) -> str | None:
    """The one file of a folder or zip without pictures or sounds that a kind reads: a table, an array, a text.

    Raises:
        DataError: there are several, or the folder is a run.
    """
    many = tuple(e for kind in kinds().values() for e in kind.members)
    single = tuple(e for e in suffixes() if e not in (*many, ZIP, *PACKED))
    with members(path, many) as (names, _):
        if names:
            return None
    if path.is_dir() and ((path / "artifact.json").exists() or (path / "request.json").exists()):
        raise DataError(f"{path} is a run, no data: give the data, or build on the run by --on {path}")
    with members(path, single) as (names, _):
        if len(names) > 1:
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            mend = "give one of them" if path.is_dir() else "unpack it and give one of them"
            raise DataError(f"{path} holds {shown}: {mend}")
        return names[0] if names else None


def _inner(
    path: Path, name: str, label: str | None, condition: Any, options: dict[str, Any]
) -> Items | tuple[Items, ...]:
    """The items of the one file of a folder, or of a zip, from which it is unpacked into a temporary folder."""
    if path.is_dir():
        return contents(path / name, label, condition, options)
    with tempfile.TemporaryDirectory() as folder, members(path, (PurePosixPath(name).suffix.lower(),)) as (_, fetch):
        unpacked = Path(folder) / PurePosixPath(name).name
        unpacked.write_bytes(fetch(name))
        inner = PurePosixPath(name)
        return contents(unpacked, label, condition, {"on_disk": False, **options} if _is_array(inner) else options)


def _is_array(path: PurePosixPath) -> bool:
    return path.suffix.lower() in ENDINGS


def _as_kind(found: Items | tuple[Items, ...], kind: str | None, name: str) -> Items | tuple[Items, ...]:
    """Rows of numbers as another kind of items, where that is stated."""
    if kind is None or not isinstance(found, Items) or found.kind == kind:
        return found
    frame = kind_of(found).columns(found.values)
    if frame is None:
        raise UsageError(f"{name} holds {found.kind} items, not {kind} items: leave kind= out")
    items = from_array(frame.to_numpy(), None, name, kind=kind)
    return Items(items.kind, items.values, found.labels, {**found.facts, **items.facts}, found.condition)


def _members_kind(path: Path) -> Kind:
    """The kind of which a folder or zip holds most files."""
    able = [kind for kind in kinds().values() if kind.members]
    with members(path, tuple(e for kind in able for e in kind.members)) as (names, _):
        endings = [PurePosixPath(name).suffix.lower() for name in names]
    of = Counter(kind.name for e in endings for kind in able if e in kind.members)
    if len(of) > 1:
        most = of.most_common(1)[0][0]
        rest = ", ".join(f"{n} of {name} items" for name, n in of.items() if name != most)
        warnings.warn(f"{path} holds {of[most]} files of {most} items, which are read, and {rest}", stacklevel=4)
    if not endings:
        known = ", ".join(e for kind in able for e in kind.members)
        there = islice((p for p in path.rglob("*") if p.is_file()), LOOKED_AT) if path.is_dir() else ()
        others = Counter(p.suffix.lower() or p.name for p in there).most_common(3)
        found = f" (but {', '.join(f'{n} {ending}' for ending, n in others)})" if others else ""
        raise DataError(f"{path} holds no files of items{found}: give files ending in {known}")
    return max(able, key=lambda kind: sum(e in kind.members for e in endings))


def from_array(
    array: np.ndarray, labels: np.ndarray | None, name: str, levels: Any = None, kind: str | None = None
) -> Items:
    """An array as items, by its type and shape, or of the stated kind.

    Raises:
        DataError: neither images nor a table.
    """
    facts = {} if levels is None else {"levels": levels}
    if kind is not None:
        found = named(kind).of_values(array, labels, name, facts)
        if found is None:
            raise UsageError(f"{name} cannot be read as {kind} (shape {array.shape}, {array.dtype}): leave kind= out")
        return found
    for able in kinds().values():
        found = able.of_array(array, labels, name, facts)
        if found is not None:
            return found
    raise DataError(f"{name} has shape {array.shape}: give images (n, H, W) or (n, H, W, C), or a table (n, d)")


def _one_array(path: Path, options: Mapping[str, Any]) -> Items:
    """The items of a .npy, in memory or on the disk."""
    kind, levels = options.get("kind"), options.get("levels")
    stays = options.get("on_disk", path.stat().st_size > on_disk.LARGE)
    if not isinstance(stays, bool):
        raise UsageError(f"on_disk must be true or false (got {stays!r}): pass on_disk=true")
    if "window" in options or stays:
        source = Mapped(path)
        if len(source.shape) == 1:
            kind, source = kind or "tokens", Windows(source, _window(options))  # type: ignore[assignment]
        if not stays:
            return from_array(source.rows(np.arange(source.shape[0])), None, path.name, levels, kind)
        return named(kind or _kind_of_source(source, path)).on_disk(OnDisk(source), None, path.name, {"levels": levels})
    with reading(path, ".npy array"), path.open("rb") as file:
        array = read_npy(file, path.stat().st_size, str(path))
    if array.ndim == 1:
        raise DataError(
            f"{path} has shape {array.shape}: give images (n, H, W) or (n, H, W, C), or a table (n, d); for one long "
            "sequence of tokens pass window=128, for numbers save x[:, None]"
        )
    return from_array(array, None, path.name, levels, kind)


def _window(options: Mapping[str, Any]) -> int:
    window = options.get("window", 128)
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        raise UsageError(f"window must be a whole number of tokens from 1 (got {window!r}): pass window=128")
    return window


def _kind_of_source(source: Any, path: Path) -> str:
    """The kind of an array on the disk, from its first items."""
    few = source.rows(np.arange(min(3, source.shape[0])))
    return from_array(few, None, path.name, 256 if few.ndim > 2 else None).kind


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of an .npz file.

    Raises:
        DataError: damaged, encrypted, of Python objects, or larger than the memory.
    """
    check_regular(path)
    with reading(path, ".npz file"), zipfile.ZipFile(path) as file:
        found = {}
        for info in file.infolist():
            if info.filename.endswith(".npy"):
                with file.open(info) as member:
                    stream: Any = member
                    name = f"{path} ({info.filename})"
                    found[info.filename.removesuffix(".npy")] = read_npy(stream, info.file_size, name)
        return found


def _npz(
    path: Path, label: str | None, condition: Any, options: Mapping[str, Any]
) -> tuple[Items | tuple[Items, ...], Any]:
    """The items of an .npz, and the condition, where it names arrays of the file those."""
    found = arrays(path)
    if not found:
        raise DataError(f"{path} holds no arrays: save some with numpy.savez(path, x=…)")
    names = columns_of(condition)
    items = of_arrays(found, path.name, label, options, also=names or ())
    if not isinstance(items, Items) or names is None or not set(names) & {*found, LABEL}:
        return items, condition
    modelled = next((key for key in IMAGES if key in found), None)
    if modelled in names:
        raise UsageError(f"{modelled} of {path.name} is what is modelled, and no condition of itself: name another")
    once_each(names)
    parts: dict[str, Items] = {}
    for name in names:
        if name == LABEL and LABEL not in found:
            parts[name] = of_labels(items, path.name)
        elif name in found:
            one_axis = found[name].ndim == 1 and found[name].dtype.kind != "O"
            parts[name] = as_items(pd.Series(found[name], name=name) if one_axis else found[name])
        else:
            raise unknown(f"array of {path.name}", name, {**found, LABEL: None})
    one = parts[names[0]] if len(parts) == 1 else Items("several", Several(parts))
    return items, Items(one.kind, one.values, facts={**one.facts, "columns": names})


def of_arrays(
    found: Mapping[str, np.ndarray],
    name: str,
    label: str | None = None,
    options: Mapping[str, Any] | None = None,
    also: Sequence[str] = (),
) -> Items | tuple[Items, ...]:
    """Named arrays as items: x and y, or x_train, x_test with their labels. A warning names those that are not used.

    Args:
        also: arrays that are used elsewhere.

    Raises:
        DataError: none of them is called x.
        UsageError: there is no array of that label.
    """
    options = options or {}
    if label is not None and label not in found:
        raise unknown(f"array of {name}", label, found)
    levels = options.get("levels", _levels(found.get("levels"), name))
    if "x_train" in found and "x_test" in found:
        _unused(found, [k for k in found if k[:2] in ("x_", "y_")], also, name)
        return _stated_splits(found, name, levels, options.get("kind"))
    values = next((key for key in IMAGES if key in found), None)
    if values is None:
        if len(found) > 1:
            raise DataError(f"{name} holds {', '.join(found)}: call the items x (and labels y), or x_train, x_test")
        values = next(iter(found))
    labels = label or next((key for key in LABELS if key in found and key != values), None)
    _unused(found, [values, *([] if labels is None else [labels])], also, name)
    return from_array(found[values], None if labels is None else found[labels], name, levels, options.get("kind"))


def _unused(found: Mapping[str, np.ndarray], used: Sequence[str], also: Sequence[str], name: str) -> None:
    left = [key for key in found if key not in (*used, *also, *NOTES, LABEL)]
    if left:
        warnings.warn(
            f"{name}: {some(left)} not used: items are called x, their labels y; --condition names conditions",
            UserWarning,
            stacklevel=4,
        )


def _levels(array: np.ndarray | None, name: str) -> int | None:
    if array is None:
        return None
    if array.size != 1:
        raise DataError(f"{name}: levels must be one number (got shape {array.shape}): state that of all pixels")
    value = array.ravel()[0].item()
    if array.dtype.kind not in "iuf" or not np.isfinite(value) or value != int(value) or not 2 <= value <= 256:
        raise DataError(f"{name}: levels must be a whole number from 2 to 256 (got {value!r}): leave it out or mend it")
    return int(value)


def _stated_splits(found: Mapping[str, np.ndarray], name: str, levels: Any, kind: str | None) -> tuple[Items, ...]:
    """The training and test items of an .npz, read as one, so that levels and class numbers mean the same in both.

    Validation items (x_val, x_validation) stay what they are where there are some.
    """
    middle = next((k for k in ("val", "validation", "valid") if f"x_{k}" in found), None)
    splits = ["train", *([] if middle is None else [middle]), "test"]
    parts = [np.asarray(found[f"x_{part}"]) for part in splits]
    for part, array in zip(splits, parts, strict=True):
        if array.shape[1:] != parts[0].shape[1:]:
            raise DataError(
                f"{name}: x_train has shape {parts[0].shape}, x_{part} {array.shape}: give items of one shape"
            )
    labels = [found.get(f"y_{part}") for part in splits]
    if 0 < sum(y is not None for y in labels) < len(labels):
        raise DataError(
            f"{name} has labels of some splits alone ({', '.join(k for k in found if k.startswith('y_'))}): give y_ "
            f"for {', '.join(splits)}, or for none"
        )
    every: Any = np.concatenate(labels) if all(y is not None for y in labels) else None  # type: ignore[arg-type]
    both = from_array(np.concatenate(parts), every, name, levels, kind)
    ends = np.cumsum([len(part) for part in parts])
    return tuple(take(both, np.arange(b - len(p), b)) for p, b in zip(parts, ends, strict=True))


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
