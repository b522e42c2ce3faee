"""Clouds of points in files of 3-D programs: .ply, .obj and .off (their vertices), .xyz, .pts, .txt and .csv, .npy.

Of a .ply text and both binary forms are read (Turk, 1994); of the others the first three numbers of a line. Clouds of
a folder get equally many points: those of the smallest, drawn at random without repeats.
"""

import re
import warnings
from pathlib import Path

import numpy as np

from pofx.core.errors import DataError
from pofx.data.arrays import read_array
from pofx.data.bounded import read_bytes, reading

LINES = (".xyz", ".pts", ".txt", ".csv", ".obj", ".off")
ENDINGS = (".ply", *LINES, ".npy")
TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
         "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
         "float32": "f4", "float64": "f8"}  # fmt: skip
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}
MOST = 2048  # points of a cloud, at most: more are drawn from


def read_folder(folder: Path, seed: int = 0) -> np.ndarray:
    """The clouds of a folder, a file each: float64 (n, k, 3).

    Raises:
        DataError: no such files, or one that cannot be read.
    """
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in ENDINGS and not f.name.startswith("."))
    if not files:
        raise DataError(f"{folder} holds no clouds of points: give files that end in {', '.join(ENDINGS)}, or a .npy")
    clouds = [read_cloud(file) for file in files]
    sizes = {len(cloud) for cloud in clouds}
    size = min(*sizes, MOST)
    if sizes != {size}:
        warnings.warn(
            f"clouds of {folder} have {min(sizes)} to {max(sizes)} points: {size} of each are taken at random",
            stacklevel=2,
        )
    g = np.random.default_rng(seed)
    return np.stack([cloud if len(cloud) == size else cloud[g.permutation(len(cloud))[:size]] for cloud in clouds])


def read_cloud(path: Path) -> np.ndarray:
    """The points of a file: float64 (k, 3), or (k, 2) of a .npy of such.

    Raises:
        DataError: no points, or fewer than three numbers for one.
    """
    ending = path.suffix.lower()
    if ending == ".npy":
        found = np.asarray(read_array(path), np.float64)
    elif ending == ".ply":
        with reading(path, "points", "write it as text"):
            found = _ply(read_bytes(path))
    else:
        with reading(path, "points", "give three numbers a line"):
            found = _lines(read_bytes(path).decode("utf-8-sig"), ending)
    if found.ndim != 2 or found.shape[1] not in (2, 3) or not len(found):
        raise DataError(f"{path} holds no points: give three numbers for each (got {found.shape})")
    return found


def _lines(text: str, ending: str) -> np.ndarray:
    rows = [re.split(r"[\s,;]+", line.strip()) for line in text.splitlines() if line.strip()]
    rows = [row for row in rows if not row[0].startswith(("#", "//"))]
    if not rows:
        return np.empty((0, 3))
    if ending == ".obj":
        rows = [row[1:] for row in rows if row[0] == "v"]
    elif ending == ".off":
        head = rows.pop(0)
        counts = head[1:] or rows.pop(0)
        rows = rows[: int(counts[0])]
    elif ending == ".pts" and len(rows[0]) == 1:  # how many there are
        rows = rows[1:]
    elif rows and not _number(rows[0][0]):  # names of columns
        rows = rows[1:]
    return np.array([[float(v) for v in row[:3]] for row in rows]) if rows else np.empty((0, 3))


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _ply(content: bytes) -> np.ndarray:
    """The vertices of a .ply, which come first in it."""
    end = content.index(b"end_header")
    body = content[content.index(b"\n", end) + 1 :]
    header = [line.split() for line in content[:end].decode("ascii", "replace").splitlines()]
    form = next(line[1] for line in header if line[:1] == ["format"])
    elements = [k for k, line in enumerate(header) if line[:1] == ["element"]]
    if header[0] != ["ply"] or header[elements[0]][1] != "vertex":
        raise ValueError("its vertices do not come first")
    n = int(header[elements[0]][2])
    last = elements[1] if len(elements) > 1 else len(header)
    properties = [line for line in header[elements[0] : last] if line[:1] == ["property"]]
    names = [line[2] for line in properties]
    if form == "ascii":
        rows = [line.split() for line in body.decode("ascii", "replace").splitlines() if line.strip()][:n]
        return np.array([[float(row[names.index(c)]) for c in "xyz"] for row in rows])
    kind = np.dtype([(line[2], ORDERS[form] + TYPES[line[1]]) for line in properties])
    vertices = np.frombuffer(body, kind, count=n)
    return np.stack([vertices[c].astype(np.float64) for c in "xyz"], 1)
