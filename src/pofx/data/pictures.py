"""A folder or zip of pictures as images; the folder that holds a picture is its label."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pofx.core.errors import DataError
from pofx.data.members import folder_labels, members


def read_pictures(path: Path, endings: Sequence[str]) -> tuple[np.ndarray, list[str] | None]:
    """The pictures in a folder, zip or file, in the order of their names: uint8 (n, H, W[, 3]), and their labels.

    Raises:
        DataError: no pictures, a damaged one, or pictures of different sizes; a zip that is not whole.
    """
    if path.is_file() and path.suffix.lower() in endings:
        return _stack([path.name], lambda name: path.read_bytes(), str(path.parent)), None
    with members(path, endings) as (names, fetch):
        if not names:
            raise DataError(f"{path} holds no pictures: give files ending in {', '.join(endings)}")
        return _stack(names, fetch, str(path)), folder_labels(names)


def _stack(names: Sequence[str], fetch: Callable[[str], bytes], where: str) -> np.ndarray:
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
    return np.stack(arrays)


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
