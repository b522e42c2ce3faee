"""Images to translate: two folders, or pictures whose halves are side by side. One side is the condition of the other.

Folders whose files have the same names are paired by name, others in the order of their names; where one side has fewer
(sets without pairs, as CycleGAN takes them) its images are repeated in turn.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.data.kind import joined
from pofx.data.kinds.image import Image, images
from pofx.data.members import members
from pofx.data.picture_files import read_pictures

PUBLIC = ("pairs",)
HALVES = ("left", "right")
ENDINGS = Image.members


def pairs(path: str | Path, condition: str = "A", reading: Mapping[str, Any] | None = None) -> Items:
    """Images with images as their condition.

    Args:
        path: a folder with two folders of pictures, or of pictures whose two halves belong together.
        condition: the folder that holds the conditions; or "left" or "right", the half that is the condition.
        reading: options of reading pictures: size, crop, grey.

    Raises:
        UsageError: there is no such folder, or more than one other.
        DataError: no pictures, damaged ones, or of different sizes.
    """
    path = Path(path)
    if condition in HALVES and not (path / condition).is_dir():
        whole = _pixels(path, reading)
        if whole.shape[2] % 2:
            raise DataError(f"pictures side by side must have an even width (got {whole.shape[2]}): cut one column")
        sides = dict(zip(HALVES, np.split(whole, 2, axis=2), strict=True))
        given = sides.pop(condition)
        (values,) = sides.values()
        return replace(images(values, name=str(path)), condition=images(given, name=str(path)))
    folders = sorted(p.name for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    others = [name for name in folders if name != condition]
    if condition not in folders or len(others) != 1:
        raise UsageError(
            f"{path} must hold the folder '{condition}' and one other (got {', '.join(folders) or 'none'}): "
            "name the folder of the conditions, or left or right for pictures side by side"
        )
    (values, names), (given, known) = (_read(path / name, reading) for name in (others[0], condition))
    if names == known or len(values) == len(given):
        return replace(images(values, name=str(path)), condition=images(given, name=str(path)))
    most = max(len(values), len(given))
    values, given = (side[np.arange(most) % len(side)] for side in (values, given))
    return replace(images(values, name=str(path)), condition=images(given, name=str(path)))


def is_paired(path: Path, condition: object) -> bool:
    """Whether a condition names a folder in this one, or a half of its pictures."""
    return path.is_dir() and isinstance(condition, str) and (condition in HALVES or (path / condition).is_dir())


def _read(folder: Path, reading: Mapping[str, Any] | None) -> tuple[np.ndarray, list[str]]:
    with members(folder, ENDINGS) as (names, _):
        return _pixels(folder, reading), [Path(name).stem for name in names]


def _pixels(folder: Path, reading: Mapping[str, Any] | None) -> np.ndarray:
    found = read_pictures(folder, ENDINGS, **{**(reading or {}), "on_disk": False})
    return np.asarray((found if isinstance(found, Items) else joined(found)).values)
