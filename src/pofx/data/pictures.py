"""A folder or zip of pictures as images; the folder that holds a picture is its label."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pofx.core.errors import DataError
from pofx.core.representation import Items
from pofx.data.items import images
from pofx.data.members import folder_labels, members

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def read_pictures(path: Path) -> Items:
    """The pictures in a folder or zip, in the order of their names.

    Raises:
        DataError: no pictures, a damaged one, or pictures of different sizes; a zip that is not whole.
    """
    with members(path, SUFFIXES) as (names, fetch):
        return _stack(names, fetch, str(path))


def _stack(names: Sequence[str], fetch: Callable[[str], bytes], where: str) -> Items:
    if not names:
        raise DataError(f"{where} holds no pictures: give files ending in {', '.join(SUFFIXES)}")
    arrays: list[np.ndarray] = []
    for name in names:
        arrays.append(_picture(fetch(name), f"{where}/{name}"))
        if arrays[-1].shape[:2] != arrays[0].shape[:2]:
            raise DataError(
                f"{where}: pictures differ in size: {names[0]} is {_size(arrays[0])}, {name} is {_size(arrays[-1])} "
                "(height x width): resize them to one size first"
            )
    if len({a.shape for a in arrays}) > 1:  # grey and colour mixed: all become colour
        arrays = [np.repeat(a[..., None], 3, -1) if a.ndim == 2 else a for a in arrays]
    return images(np.stack(arrays), labels=folder_labels(names), name=where)


def _picture(content: bytes, name: str) -> np.ndarray:
    """A picture as uint8 (H, W) where it is grey, else (H, W, 3)."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.mode in ("I", "I;16", "F"):
                raise DataError(f"{name} has more than 8 bits per channel ({picture.mode}): convert it to 8 bits")
            return np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name} is not a whole picture ({error}): remove it or write it again") from error


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]} x {array.shape[1]}"
