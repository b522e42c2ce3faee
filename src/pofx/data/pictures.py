"""Pictures as arrays: files, folders and zips; the folder that holds a picture is its label.

A picture is what a viewer shows: turned as its EXIF tag states, transparency over white, palettes and printing colours
(CMYK) as colours, a palette of greys as grey. What has more than 8 bits, or more than one frame, is refused instead of
guessed. Photos of different sizes need `size`: the shorter side is scaled to it and the middle is cut out, or with
crop=false all is squeezed.
"""

import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from pofx.core.errors import DataError, UsageError
from pofx.data.bounded import read_bytes, reading

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")  # never those that start another program
PIXELS = 1 << 26  # of a picture, at most: 8,192 x 8,192
LONGEST = 4096  # pixels of a side that `size` may state
GREY, COLOUR = ("1", "L"), ("RGB", "P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX")
CLEAR = ("LA", "La", "PA", "RGBA", "RGBa")  # with transparency


@dataclass(frozen=True)
class Shape:
    """What pictures are made into: `size` (height, width) or None for their own, cut or squeezed, grey or as it is."""

    size: tuple[int, int] | None = None
    crop: bool = True
    grey: bool | None = None

    @classmethod
    def of(cls, size: Any = None, crop: Any = True, grey: Any = None) -> "Shape":
        """From options as a user writes them.

        Raises:
            UsageError: a value of another type or range.
        """
        for name, value in (("crop", crop), ("grey", grey)):
            if not isinstance(value, bool) and not (name == "grey" and value is None):
                raise UsageError(f"{name} must be true or false (got {value!r}): pass {name}=true")
        if size is None:
            return cls(None, crop, grey)
        sides = [size, size] if not isinstance(size, list | tuple) else list(size)
        whole = all(isinstance(s, int | np.integer) and not isinstance(s, bool) and 1 <= s <= LONGEST for s in sides)
        if len(sides) != 2 or not whole:
            raise UsageError(
                f"size must be 1 to {LONGEST} pixels, or [height, width] (got {size!r}): pass size=64 or size=[48,64]"
            )
        return cls((int(sides[0]), int(sides[1])), crop, grey)


class Remarks:
    """What was done to pictures that their owner should know, as one warning each."""

    def __init__(self) -> None:
        self.clear: list[str] = []

    def warn(self) -> None:
        if self.clear:
            warnings.warn(
                f"{len(self.clear)} pictures have transparency (the first: {self.clear[0]}): they are shown over white",
                UserWarning,
                stacklevel=3,
            )


def stack(names: Sequence[str], fetch: Callable[[str], bytes], where: str, shape: Shape) -> np.ndarray:
    """The pictures of these names: uint8 (n, H, W) where all are grey, else (n, H, W, 3).

    Raises:
        DataError: a damaged one, or different sizes and no `size`.
    """
    remarks = Remarks()
    found = beside((picture(fetch(name), f"{where}/{name}", shape, remarks) for name in names), names, where)
    remarks.warn()
    return found


def beside(pictures: Iterable[np.ndarray], names: Sequence[str], where: str) -> np.ndarray:
    """Pictures as one array: uint8 (n, H, W) where all are grey, else (n, H, W, 3).

    Raises:
        DataError: different sizes.
    """
    arrays: list[np.ndarray] = []
    for name, array in zip(names, pictures, strict=True):
        arrays.append(array)
        if arrays[-1].shape[:2] != arrays[0].shape[:2]:
            raise DataError(
                f"{where}: pictures differ in size: {names[0]} is {_size(arrays[0])}, {name} is {_size(arrays[-1])} "
                f"(height x width): pass size={min(arrays[0].shape[:2])} to scale and crop them all to squares, "
                "size=[height,width] for another shape; crop=false squeezes instead"
            )
    if len({a.shape for a in arrays}) > 1:  # grey and colour mixed: all become colour
        arrays = [np.repeat(a[..., None], 3, -1) if a.ndim == 2 else a for a in arrays]
    return np.stack(arrays)


def picture(content: bytes, name: str, shape: Shape, remarks: Remarks | None = None) -> np.ndarray:
    """A picture as uint8 (H, W) where it is grey, else (H, W, 3).

    Raises:
        DataError: damaged, of another format, of more than 8 bits a channel, animated, or too large.
    """
    with reading(name, "picture (PNG, JPEG, BMP, GIF, TIFF or WebP)", "remove it or write it again"):
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            _check(opened, name)
            if shape.size is not None:
                side = 2 * max(shape.size)
                opened.draft(opened.mode, (side, side))  # JPEG decodes to less at once
            return drawn_picture(opened, name, shape, remarks)


def drawn_picture(opened: Image.Image, name: str, shape: Shape, remarks: Remarks | None = None) -> np.ndarray:
    """A picture of Pillow, as `picture` makes it of the content of a file.

    Raises:
        DataError: more than 8 bits a channel, animated, or too large.
    """
    _check(opened, name)
    return np.asarray(shaped(flat(_turned(opened), name, remarks), shape))


def any_picture(value: Any, name: str, shape: Shape, remarks: Remarks | None = None) -> np.ndarray:
    """A picture of Pillow, the content of a file, or {"bytes": content, "path": name} as tables of pictures store it.

    Raises:
        DataError: as `picture`, or nothing of this kind.
    """
    if is_stored(value):
        content, path = value.get("bytes"), value.get("path")
        value = content if content is not None else path and read_bytes(Path(path))
    if isinstance(value, bytes | bytearray):
        return picture(bytes(value), name, shape, remarks)
    if not is_drawn(value):
        raise DataError(f"{name} is no picture (got {type(value).__name__}): leave it out, or mend it")
    with reading(name, "picture", "leave it out, or mend it"):
        return drawn_picture(value, name, shape, remarks)


def is_drawn(value: Any) -> bool:
    """Whether an object is a picture of Pillow."""
    return hasattr(value, "convert") and hasattr(value, "getbands")


def is_stored(value: Any) -> bool:
    """Whether an object is a file in a table: its content, its name, or both."""
    return isinstance(value, Mapping) and {"bytes", "path"} == set(value)


def one_picture(path: Path, *, behind: int | None = None) -> np.ndarray:
    """The picture in a file: uint8 (H, W) where it is grey, else (H, W, 3).

    Args:
        behind: the level behind transparent pixels, such as 0 of a mask; white, with a warning, where none is stated.

    Raises:
        DataError: as `picture`.
    """
    content, remarks = read_bytes(path), Remarks()
    if behind is None:
        found = picture(content, str(path), Shape(), remarks)
        remarks.warn()
        return found
    with reading(path, "picture (PNG, JPEG, BMP, GIF, TIFF or WebP)", "write it again"):
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            _check(opened, str(path))
            drawn = _turned(opened).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", drawn.size, (behind,) * 3 + (255,)), drawn).convert("L"))


def size_of(content: bytes, name: str) -> tuple[int, int, bool]:
    """Height, width and whether a picture is grey, from its header."""
    with reading(name, "picture (PNG, JPEG, BMP, GIF, TIFF or WebP)", "remove it or write it again"):
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            _check(opened, name)
            turned = opened.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            width, height = opened.size[::-1] if turned else opened.size
            return height, width, _grey(opened)


def _check(opened: Image.Image, name: str) -> None:
    width, height = opened.size
    if width * height > PIXELS:
        raise DataError(f"{name} has {height} x {width} pixels, the limit is {PIXELS:,}: scale it down first")
    stored = " ".join(str(args) for *_, args in getattr(opened, "tile", ()))  # 16 bits of colours are opened as 8
    if opened.mode not in (*GREY, *COLOUR, *CLEAR) or ";16" in stored or ";32" in stored:
        raise DataError(
            f"{name} has more than 8 bits per channel ({opened.mode}): convert it to 8 bits, stating what is black "
            "and what is white, or save the numbers as .npy"
        )
    frames = getattr(opened, "n_frames", 1) if opened.format in ("GIF", "WEBP", "PNG", "TIFF") else 1
    if frames > 1:
        raise DataError(f"{name} has {frames} frames: save the frames that are meant as pictures of their own")


def _turned(opened: Image.Image) -> Image.Image:
    """As its EXIF tag states; a damaged tag states nothing."""
    opened.load()
    try:
        return ImageOps.exif_transpose(opened)
    except Exception:  # the tag is an aside: the pixels are whole
        return opened


def flat(drawn: Image.Image, name: str, remarks: Remarks | None = None) -> Image.Image:
    """A picture in grey or colours, without transparency: what is behind it is white, what it hides is not learned."""
    grey = _grey(drawn)
    if drawn.mode in ("La", "RGBa"):
        drawn = drawn.convert(drawn.mode.upper())
    if drawn.mode in CLEAR or "transparency" in drawn.info:
        whole = drawn.convert("RGBA")
        alpha = whole.getchannel("A")
        if alpha.getextrema() != (255, 255):
            if remarks is not None:
                remarks.clear.append(name)
            whole = Image.alpha_composite(Image.new("RGBA", whole.size, (255, 255, 255, 255)), whole)
        return whole.convert("L" if grey else "RGB")
    return drawn.convert("L" if grey else "RGB")


def _grey(drawn: Image.Image) -> bool:
    """Whether a picture has no colours: by its mode, or because its palette has none."""
    if drawn.mode in ("P", "PA"):
        drawn.load()
        palette = np.asarray(drawn.getpalette("RGB") or (), np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return drawn.mode in (*GREY, "LA", "La")


def shaped(drawn: Image.Image, shape: Shape) -> Image.Image:
    """A picture in the size and colours that are wanted."""
    if shape.grey is not None:
        drawn = drawn.convert("L" if shape.grey else "RGB")
    if shape.size is None or drawn.size == shape.size[::-1]:
        return drawn
    height, width = shape.size
    if shape.crop:
        return ImageOps.fit(drawn, (width, height), Image.Resampling.BICUBIC)
    return drawn.resize((width, height), Image.Resampling.BICUBIC)


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]} x {array.shape[1]}"
