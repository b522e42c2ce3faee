"""Images to translate: two folders, or pictures whose halves are side by side. One side is the condition of the other.

Files of the same name are pairs. Where most have one, others are left out; else these are put together in the order of
their names, and where one side has fewer (sets without pairs, as CycleGAN takes them) its images are repeated in turn.
"""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.data.conditions import LABEL
from pofx.data.kind import joined
from pofx.data.kinds.image import Image, images
from pofx.data.members import members
from pofx.data.picture_files import read_pictures

PUBLIC = ("pairs",)
HALVES = ("left", "right")
MOSTLY = 0.8  # share of the pictures with one of their name, from which on those without are left out
ENDINGS = Image.members


def pairs(path: str | Path, condition: str = "A", reading: Mapping[str, Any] | None = None) -> Items:
    """Images with images as their condition.

    Args:
        path: a folder with two folders of pictures, of pictures whose two halves belong together, or of pictures that
            belong to those of another folder.
        condition: the folder that holds the conditions, inside of it or anywhere else; or "left" or "right", the half
            that is the condition.
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
    if elsewhere(path, condition):
        return _of_two(path, path, Path(condition).expanduser(), reading)
    folders = sorted(p.name for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    others = [name for name in folders if name != condition]
    if condition not in folders or len(others) != 1:
        raise UsageError(
            f"{path} must hold the folder '{condition}' and one other (got {', '.join(folders) or 'none'}): "
            "name the folder of the conditions, or left or right for pictures side by side"
        )
    return _of_two(path, path / others[0], path / condition, reading)


def elsewhere(path: Path, condition: str) -> bool:
    """Whether a condition is the path of a folder of pictures that is not in this one."""
    other = Path(condition).expanduser()
    if condition in HALVES or (path / condition).is_dir() or not other.is_dir() or other.resolve() == path.resolve():
        return False
    return any(file.suffix.lower() in ENDINGS for file in other.rglob("*"))


def _of_two(path: Path, wanted: Path, known: Path, reading: Mapping[str, Any] | None) -> Items:
    """The pictures of a folder with those of another as their condition."""
    (values, names), (given, others) = (_read(folder, reading) for folder in (wanted, known))
    at, of = _partners(names, others, (wanted.name, known.name))
    return replace(images(values[at], name=str(path)), condition=images(given[of], name=str(path)))


def _partners(names: list[str], others: list[str], folders: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Places in both lists that belong together: by name; where few or none have one of their name, in order."""
    place = {name: i for i, name in enumerate(others)}
    at = [i for i, name in enumerate(names) if name in place]
    of, most = [place[names[i]] for i in at], max(len(names), len(others))
    both = f"{folders[0]} ({len(names)} pictures) and {folders[1]} ({len(others)})"
    if len({*names}) < len(names) or len(place) < len(others) or not at:
        if len(names) != len(others):
            warnings.warn(
                f"{both} are put together in order, the fewer repeated in turn: for sets without pairs, as cyclegan "
                "learns them",
                stacklevel=5,
            )
        turns = np.arange(most)
        return turns % len(names), turns % len(others)
    if len(at) == most:
        return np.array(at), np.array(of)
    if len(at) >= MOSTLY * most:
        warnings.warn(f"{both} have {len(at)} names in common: pictures of other names are left out", stacklevel=5)
        return np.array(at), np.array(of)
    alone = [i for i, name in enumerate(names) if name not in place] or at
    free = [i for i, name in enumerate(others) if name not in {*names}] or of
    more = np.arange(most - len(at))
    warnings.warn(
        f"{both} have {len(at)} names in common: pictures of other names are put together in order, the fewer repeated "
        "in turn, for sets without pairs as cyclegan learns them",
        stacklevel=5,
    )
    rest = (np.array(side)[more % len(side)] for side in (alone, free))
    return tuple(np.concatenate(pair) for pair in zip((at, of), rest, strict=True))  # type: ignore[return-value]


def is_paired(path: Path, condition: object) -> bool:
    """Whether a condition names a folder in this one, another folder of pictures, or a half of its pictures."""
    if not path.is_dir() or not isinstance(condition, str):
        return False
    return condition in HALVES or (path / condition).is_dir() or (condition != LABEL and elsewhere(path, condition))


def _read(folder: Path, reading: Mapping[str, Any] | None) -> tuple[np.ndarray, list[str]]:
    with members(folder, ENDINGS) as (names, _):
        return _pixels(folder, reading), [Path(name).stem for name in names]


def _pixels(folder: Path, reading: Mapping[str, Any] | None) -> np.ndarray:
    found = read_pictures(folder, ENDINGS, **{**(reading or {}), "on_disk": False})
    return np.asarray((found if isinstance(found, Items) else joined(found)).values)
