"""Arrays and tables ↔ files: .npz, .npy and .csv. Files are written aside, then renamed.

Items are written by their kind (`pofx.data.kind`).
"""

import csv
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.core.files import write, write_bytes
from pofx.data.kind import npz


def check_ending(path: Path, ending: str) -> None:
    """Refuse a path with another ending.

    Raises:
        UsageError: with the ending that is written.
    """
    if path.suffix.lower() != ending:
        raise UsageError(f"the name of the file must end in {ending} (got '{path.name}')")


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
    """The array of a .npy file, or the first one of a .npz file.

    Raises:
        DataError: no such file, or it is damaged or of another type.
    """
    if not path.exists():
        raise DataError(f"there is no file {path}: check the path")
    try:
        loaded = np.load(path, allow_pickle=False)
        found = np.asarray(loaded[loaded.files[0]] if hasattr(loaded, "files") else loaded)
    except (ValueError, OSError, EOFError, KeyError, IndexError) as error:
        raise DataError(f"{path} cannot be read as .npy or .npz ({error}): save it with numpy.savez") from error
    if found.dtype.kind not in "biuf" or found.ndim == 0:
        raise DataError(f"{path} must hold an array of numbers (got {found.dtype}, shape {found.shape})")
    return found
