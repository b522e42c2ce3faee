"""A folder or zip of pictures as images; the folder that holds a picture is its label."""

import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from pofx.core.errors import DataError
from pofx.core.representation import Items
from pofx.data.items import images

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def read_folder(path: Path) -> Items:
    """The pictures below a folder, in the order of their names.

    Raises:
        DataError: no pictures, a damaged one, or pictures of different sizes.
    """
    names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    return _stack(names, lambda name: (path / name).read_bytes(), str(path))


def read_zip(path: Path) -> Items:
    """The pictures in a zip file; raises as `read_folder` does, and where the zip is damaged."""
    try:
        with zipfile.ZipFile(path) as file:
            inside = [n for n in file.namelist() if not n.startswith("__MACOSX/")]
            names = sorted(n for n in inside if PurePosixPath(n).suffix.lower() in SUFFIXES)
            return _stack(names, file.read, str(path))
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise DataError(f"{path} is not a whole zip file ({error}): fetch or write it again") from error


def _stack(names: Iterable[str], fetch: Callable[[str], bytes], where: str) -> Items:
    names = list(names)
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
    folders = [PurePosixPath(name).parent.as_posix() for name in names]
    labels = folders if len(set(folders)) > 1 else None
    return images(np.stack(arrays), labels=labels, name=where)


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
