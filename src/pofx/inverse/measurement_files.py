"""Measurements and operators in files, as users have them: arrays, pictures, functions.

An .npz holds the array `y` and what belongs to the operator under its own name: `mask`, `coils`, `kernel`, `matrix`,
`angles`. A picture is a measurement from 0 to 1. An operator is a name, a matrix in an .npy, or `file.py:function`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pofx.core.config import function_in_file
from pofx.core.errors import DataError, UsageError, unknown
from pofx.data.bounded import reading
from pofx.data.pictures import one_picture
from pofx.inverse.operators.named import OPERATORS

ARRAYS = ("mask", "coils", "kernel", "matrix", "angles")  # options of operators that may be arrays
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif")
PLACES = ("denoise", "inpaint", "blur", "motion")  # operators whose measurements have the places of items
BRIGHT = 127  # level of a painted mask above which a place is measured
MEND = "give an .npz with an array y, an .npy, a picture, or a folder of pictures"


@dataclass(frozen=True)
class Found:
    """Measurements (n, *out), arrays of their operator by name, and whether they are pictures."""

    y: Any
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    pictures: bool = False


def read_measurements(path: Path, channels: int | None = None) -> Found:
    """What a file or folder holds; pictures as real numbers (n, channels, height, width) from 0 to 1.

    Args:
        channels: of the items that are sought, 1 or 3, which pictures are brought to; None: pictures are refused.

    Raises:
        DataError: no measurements.
    """
    if path.is_dir():
        found = sorted(one for one in path.iterdir() if one.suffix.lower() in PICTURES and one.name[0] != ".")
        if not found:
            raise DataError(f"{path} holds no pictures: {MEND}")
        made = [_picture(one, channels) for one in found]
        for one, name in zip(made, found, strict=True):
            if one.shape != made[0].shape:
                raise DataError(
                    f"pictures of one operator must have one size: {found[0].name} is {_size(made[0])}, {name.name} is "
                    f"{_size(one)}: restore them one by one"
                )
        return Found(np.concatenate(made), pictures=True)
    if path.suffix.lower() in PICTURES:
        return Found(_picture(path, channels), pictures=True)
    if path.suffix.lower() not in (".npy", ".npz"):
        raise DataError(f"measurements are numbers: {MEND} (got '{path.name}')")
    with reading(path, "measurement", MEND):
        read = np.load(path, allow_pickle=False)
        if isinstance(read, np.ndarray):
            return Found(read)
        with read:
            if not read.files:
                raise DataError(f"{path} holds no arrays: {MEND}")
            own = {name: read[name] for name in read.files if name in ARRAYS}
            others = [name for name in read.files if name not in ARRAYS]
            if "y" not in others and len(others) != 1:
                raise DataError(
                    f"{path} must have an array y (it has {', '.join(read.files)}): name the measurements y"
                )
            return Found(read["y" if "y" in others else others[0]], own)


def read_array(path: Path, name: str) -> np.ndarray:
    """An array that belongs to an operator: an .npy, an .npz (of that name or its only one), or a painted mask, white
    where an item is measured; a folder of such masks is one for each measurement, in the order of their names.

    Raises:
        DataError: no such array.
    """
    if path.is_dir():
        found = sorted(one for one in path.iterdir() if one.suffix.lower() in PICTURES and one.name[0] != ".")
        if name != "mask" or not found:
            raise DataError(f"{name} must be an array or a folder of painted masks (got the folder '{path.name}')")
        masks = [read_array(one, name) for one in found]
        if len({one.shape for one in masks}) > 1:
            raise DataError(f"masks of one folder must have one size: see {path.name}")
        return np.stack(masks)
    if path.suffix.lower() in PICTURES:
        if name != "mask":
            raise DataError(f"{name} must be an array of numbers (got the picture '{path.name}'): give an .npy")
        return one_picture(path, behind=0) > BRIGHT
    with reading(path, "array", "give an .npy"):
        read = np.load(path, allow_pickle=False)
        if isinstance(read, np.ndarray):
            return read
        with read:
            if name not in read.files and len(read.files) != 1:
                raise DataError(f"{path} has no array {name} (it has {', '.join(read.files) or 'none'}): add it")
            return np.asarray(read[name if name in read.files else read.files[0]])


def read_operator(written: str) -> Any:
    """An operator as `posterior` takes it: a name, the matrix of an .npy, or what `file.py:name` holds, a function of
    tensors (n, *shape), or a class or object with `A` or `forward` (a class is called without arguments).

    Raises:
        UsageError: no such name, file or function.
    """
    if re.search(r"\.py(:|$)", written):
        made = function_in_file(written, "an operator")
        if isinstance(made, type):
            try:
                return made()
            except Exception as error:  # whatever a class of the user's raises
                raise UsageError(
                    f"{written} cannot be made without arguments ({type(error).__name__}: {error}): give a function, "
                    "or a class that takes none"
                ) from error
        return made
    if Path(written).suffix.lower() in (".npy", ".npz"):
        return read_array(Path(written), "matrix")
    if written not in OPERATORS:
        raise unknown("operator", written, OPERATORS)
    return written


def with_arrays(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an operator in which names of files became arrays.

    Raises:
        DataError: there is no such file, or it holds no array.
    """
    found = dict(options)
    for name in ARRAYS:
        value = found.get(name)
        if isinstance(value, str):
            if not Path(value).expanduser().exists():
                raise DataError(f"there is no file {value}: pass {name}= an array in an .npy")
            found[name] = read_array(Path(value).expanduser(), name)
    return found


def settled(operator: Any, options: Mapping[str, Any], found: Found) -> tuple[Any, dict[str, Any]]:
    """The operator and its options, with what the measurements themselves state: arrays beside them; without a name
    `matrix`, `inpaint` (a mask, or values that are missing), `mri` (complex numbers), else `denoise`; masks of missing
    values and of k-spaces whose unmeasured coefficients are zero.

    Raises:
        DataError: a whole k-space of several coils without them.
    """
    options, y = with_arrays(options), np.asarray(found.y)
    holes = y.dtype.kind == "f" and bool(np.isnan(y).any())
    if operator is None:
        complex_ = y.dtype.kind == "c"
        operator = (
            found.arrays["matrix"]
            if "matrix" in found.arrays
            else "mri" if complex_ or "coils" in found.arrays
            else "inpaint" if holes or "mask" in found.arrays
            else "blur" if "kernel" in found.arrays
            else "tomography" if "angles" in found.arrays
            else "denoise"
        )  # fmt: skip
    if isinstance(operator, np.ndarray) and operator.ndim == 3:  # a matrix for each measurement
        operator = "sensing"
    if not isinstance(operator, str):
        return operator, options
    known = signature(OPERATORS[operator]).parameters
    options = {**{name: value for name, value in found.arrays.items() if name in known}, **options}
    if operator == "inpaint" and holes and not {"mask", "missing", "box"} & set(options):
        known_places = np.isfinite(y)
        same = y.ndim > 2 and bool((known_places == known_places[:1]).all())
        options["mask"] = known_places[0] if same else known_places
    if operator == "mri" and y.dtype.kind == "c" and y.ndim >= 2 and "mask" not in options:
        given = {"acceleration", "spokes", "centre"} & set(options)
        zero = (np.abs(y.reshape(-1, *y.shape[-2:])) == 0).all(0)
        if not given and bool(zero.any()) and not bool(zero.all()):
            options["mask"] = ~zero
    return operator, options


def picture_shape(operator: Any, options: Mapping[str, Any], y: np.ndarray, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the items behind pictures (n, channels, height, width), which may be larger than those of a run."""
    if not isinstance(operator, str):
        return tuple(shape)
    factor = int(options.get("factor", 4)) if operator == "superres" else 1
    if operator not in (*PLACES, "superres", "grey"):
        return tuple(shape)
    return (int(shape[0]), *(int(side) * factor for side in y.shape[-2:]))


def _picture(path: Path, channels: int | None) -> np.ndarray:
    if channels not in (1, 3):
        raise DataError(f"{path.name} is a picture, and items of this run are none: give an .npz with an array y")
    levels = one_picture(path)
    image = Image.fromarray(levels).convert("L" if channels == 1 else "RGB")
    array = np.asarray(image, np.float32) / 255
    return array[None, None] if array.ndim == 2 else np.moveaxis(array, -1, 0)[None]


def _size(x: np.ndarray) -> str:
    return f"{x.shape[-2]} x {x.shape[-1]}"
