"""Arrays and tables ↔ files: .npz, .npy and .csv. Files are written aside, then renamed.

Items are written by their kind (`pofx.data.kind`).
"""

import csv
import io
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError
from pofx.core.files import write, write_bytes
from pofx.data.bounded import check_regular, read_npy, reading, unzipped
from pofx.data.kind import npz


def check_ending(path: Path, *endings: str) -> None:
    """Refuse a path with another ending.

    Raises:
        UsageError: with the endings that are written.
    """
    if path.suffix.lower() not in endings:
        raise UsageError(f"the name of the file must end in {' or '.join(endings)} (got '{path.name}')")


def check_output(path: Path, *endings: str) -> None:
    """Refuse, before anything is computed, a path with another ending, or below a file.

    Raises:
        UsageError: which it is.
    """
    check_ending(path, *endings)
    above = next((p for p in path.absolute().parents if p.exists()), None)
    if path.is_dir() or (above is not None and not above.is_dir()):
        at = path if path.is_dir() else above
        raise UsageError(f"{path} cannot be written, {at} is a {'folder' if path.is_dir() else 'file'}: choose another")
    check_allowed(path)


def check_allowed(path: Path) -> None:
    """Refuse a place where this user may not write.

    Raises:
        UsageError: what forbids it.
    """
    above = next((p for p in path.absolute().parents if p.exists()), None)
    if above is not None and above.is_dir() and not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be written, {above} is read-only for this user: choose another --out")


def apart(path: Path, *inputs: Path, inside: bool) -> None:
    """Refuse to write over what is read.

    Args:
        inside: the path is a folder that is written as a whole, in which nothing that is read may lie.

    Raises:
        UsageError: the path is one of the inputs, or a folder that holds one.
    """
    place = path.resolve()
    for one in inputs:
        if one.resolve() == place or (inside and one.resolve().is_relative_to(place)):
            where = "" if one.resolve() == place else f" in {path}"
            raise UsageError(f"{one} is read, and would be overwritten{where}: choose another --out")


def check_free(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds anything, unless that may be overwritten: a training may be behind it.

    Raises:
        UsageError: it is not empty, or a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder: choose another --out")
    check_allowed(folder)
    found = sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.exists() else []
    if found and not overwrite:
        shown = ", ".join(found[:3]) + (" …" if len(found) > 3 else "")
        raise UsageError(f"{folder} is not empty ({shown}): choose another --out, or pass --overwrite to write into it")


def write_frame(frame: pd.DataFrame, path: Path, **options: Any) -> None:
    """A table → .csv; options are those of `DataFrame.to_csv`, without the row numbers where nothing else is stated."""
    check_ending(path, ".csv")
    write_bytes(path, frame.to_csv(**{"index": False, **options}).encode("utf-8", "surrogatepass"))


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Named arrays → .npz."""
    check_ending(path, ".npz")
    write_bytes(path, npz(arrays))


def stored_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a .npz file that can be made again; None where there is none or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {k: stored[k] for k in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Rows with equal keys → .csv."""
    check_ending(path, ".csv")

    def fill(aside: Path) -> None:
        with aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
            writer.writeheader()
            writer.writerows(rows)

    write(path, fill)


def read_array(path: Path) -> np.ndarray:
    """The array of a .npy or .npy.gz file, or the first one of a .npz file.

    Raises:
        DataError: no such file, or it is damaged or of another type.
    """
    if not path.exists():
        raise DataError(f"there is no file {path}: check the path")
    if not path.name.lower().endswith((".npy", ".npz", ".npy.gz")):
        raise DataError(f"{path} must be an .npy, .npy.gz or .npz file: save the array with numpy.save")
    check_regular(path)
    with reading(path, ".npy or .npz file", "save it with numpy.savez"):
        if path.suffix.lower() == ".gz":
            content = io.BytesIO()
            unzipped(path, content)
            content.seek(0)
            found = read_npy(content, len(content.getvalue()), str(path))
        else:
            loaded = np.load(path, allow_pickle=False)
            found = np.asarray(loaded[loaded.files[0]] if hasattr(loaded, "files") else loaded)
    if found.dtype.kind not in "biuf" or found.ndim == 0:
        raise DataError(f"{path} must hold an array of numbers (got {found.dtype}, shape {found.shape})")
    return found
