"""Folders, zips and files of pictures as items: read into memory, or left where they are when that would be large.

The folder that holds a picture is its label; folders called train, val and test are the splits.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.data import on_disk as disk
from pofx.data.bounded import read_bytes
from pofx.data.kind import parted
from pofx.data.labels import with_labels
from pofx.data.members import folder_labels, members, stated_splits
from pofx.data.on_disk import OnDisk, Source
from pofx.data.pictures import Shape, picture, size_of, stack

PROBED = 64  # pictures whose headers show how much memory all would take


class PictureFiles(Source):
    """Pictures in files of a folder, decoded when they are needed."""

    def __init__(self, folder: Path, names: Sequence[str], sides: tuple[int, int], shape: Shape, grey: bool) -> None:
        self.folder, self.names, self.grey = folder, list(names), grey
        self.of = shape if grey else replace(shape, grey=False)  # one in colour among grey ones is refused below
        self.shape = (len(names), *sides, *(() if grey else (3,)))
        self.dtype = np.dtype(np.uint8)

    def rows(self, at: np.ndarray) -> np.ndarray:
        found = np.empty((len(at), *self.shape[1:]), np.uint8)
        for k, i in enumerate(at):
            name = self.names[i]
            array = picture(read_bytes(self.folder / name), f"{self.folder}/{name}", self.of)
            if array.shape != self.shape[1:]:
                raise DataError(
                    f"{self.folder}/{name} has shape {array.shape}, the others {self.shape[1:]}: pass size=64 where "
                    "sizes differ, grey=false where some are in colour"
                )
            found[k] = array
        return found


def read_pictures(
    path: Path,
    endings: Sequence[str],
    size: Any = None,
    crop: Any = True,
    grey: Any = None,
    on_disk: bool | None = None,
) -> Items | tuple[Items, ...]:
    """The pictures in a folder, zip or file, in the order of their names, labelled by folder.

    Raises:
        DataError: no pictures, a damaged one, or pictures of different sizes and no `size`.
        UsageError: options of another type or range.
    """
    shape = Shape.of(size, crop, grey)
    if path.is_file() and path.suffix.lower() in endings:
        values: Any = stack([path.name], lambda name: read_bytes(path), str(path.parent), shape)
        return Items("image", values, None, {"levels": 256})
    with members(path, endings) as (names, fetch):
        if not names:
            raise DataError(f"{path} holds no pictures: give files ending in {', '.join(endings)}")
        splits = stated_splits(names)
        labels = folder_labels(names if splits is None else splits[1])
        values = _left(path, names, fetch, shape, on_disk)
        if values is None:
            values = stack(names, fetch, str(path), shape)
    items = Items("image", values, *with_labels(labels, len(names), str(path), {"levels": 256}))
    return items if splits is None else parted(items, splits[0])


def _left(
    path: Path, names: Sequence[str], fetch: Callable[[str], bytes], shape: Shape, wanted: bool | None
) -> OnDisk | None:
    """The pictures of a folder on the disk, where they would take much memory; None otherwise."""
    at = np.linspace(0, len(names) - 1, min(len(names), PROBED)).round().astype(int)
    if not path.is_dir() or wanted is False:
        return None
    probed = [size_of(fetch(names[i]), f"{path}/{names[i]}") for i in dict.fromkeys(at.tolist())]
    height, width, _ = probed[0]
    sides = shape.size or (height, width)
    grey = all(p[2] for p in probed) if shape.grey is None else shape.grey
    if not wanted and len(names) * sides[0] * sides[1] * (1 if grey else 3) <= disk.LARGE:
        return None
    if shape.size is None and len({p[:2] for p in probed}) > 1:
        return None  # reading them reports which differ
    return OnDisk(PictureFiles(path, names, sides, shape, grey))
