"""Pictures as levels: whole numbers as they are, floats in [0, 1] scaled, channels moved to the last axis."""

import warnings
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.data.numbers import as_array

MOST = 256  # levels of a byte
BANDS = 64  # channels of a picture, at most; more than 4 are no colours
CLOSE = 1e-3  # of a level, to which floats on levels are exact


def check_images(x: Any, levels: int | None, name: str) -> np.ndarray:
    """The images as uint8 (n, H, W) or (n, H, W, C), checked.

    Integers are levels, floats in [0, 1] become the nearest ones, channels may come first (n, C, H, W).

    Raises:
        DataError: empty, of another shape or type, or levels out of range.
        UsageError: levels that no byte has.
    """
    if levels is not None and (
        isinstance(levels, bool) or not isinstance(levels, int | np.integer) or not 2 <= levels <= MOST
    ):
        raise UsageError(f"levels must be 2 to {MOST} (got {levels}): pass levels=256 for 8-bit images")
    tensor = hasattr(x, "detach")
    array = channels_last(as_array(x, name), name, first=tensor)
    if array.size == 0:
        raise DataError(f"{name} is empty (shape {array.shape}): give at least one image with at least one pixel")
    return np.ascontiguousarray(_whole(array, levels or levels_of(array), name))


def channels_last(array: np.ndarray, name: str, first: bool = False) -> np.ndarray:
    """Images with their channels last; where both axes could be those, `first` decides. More than 4 channels are fewer
    than rows and columns, and last, or `first`."""
    if array.ndim == 4:
        sides = array.shape[1:]
        many = [4 < side <= BANDS for side in (sides[0], sides[2])]
        if many[0] and first and sides[0] < min(sides[1:]):
            return np.moveaxis(array, 1, -1)
        if many[1] and sides[2] < min(sides[:2]) and not (first and sides[0] <= BANDS):
            return array
        leading, trailing = (1 <= array.shape[axis] <= 4 for axis in (1, 3))
        if leading and (first or not trailing):
            moved = np.moveaxis(array, 1, -1)
            return moved[..., 0] if moved.shape[-1] == 1 else moved
    if array.ndim not in (3, 4) or (array.ndim == 4 and not 1 <= array.shape[-1] <= 4):
        if array.ndim == 2:
            raise DataError(
                f"{name} must have shape (n, H, W) or (n, H, W, C) (got {array.shape}): pass x[None] for one"
            )
        raise no_colours(array, name)
    return array


def no_colours(array: np.ndarray, name: str) -> DataError:
    """The error of an array that may be pictures, clips or solids."""
    return DataError(
        f"{name} must have shape (n, H, W), (n, H, W, C) or (n, C, H, W) with 1 to 4 channels (got {array.shape}): "
        "move the channels last; of a file of clips or solids state kind=video or kind=voxels, of pictures of more "
        "channels kind=image"
    )


def levels_of(array: np.ndarray) -> int:
    """How many levels values have where nothing states it: 2 of truth values and of zeros and ones, else 256."""
    if array.dtype == bool:
        return 2
    if array.dtype.kind == "f" and array.size and bool(((array == 0) | (array == 1)).all()) and array.any():
        return 2
    return MOST


def _whole(array: np.ndarray, levels: int, name: str) -> np.ndarray:
    """Values as levels 0 to levels - 1, uint8."""
    if array.dtype.kind == "f":
        array = _rounded(array, levels, name)
    elif array.dtype.kind not in "iub":
        raise DataError(f"{name} must hold integer levels 0 to {levels - 1}, or floats in [0, 1] (got {array.dtype})")
    low, high = int(array.min()), int(array.max())
    if low >= 0 and high < levels:
        return array.astype(np.uint8, copy=False)
    got = f"{name} must lie in 0 to {levels - 1} (got {low} to {high})"
    if low < 0:
        raise DataError(f"{got}: subtract {low}, and state the levels that result")
    if high < MOST:
        raise DataError(f"{got}: pass levels={max(high + 1, 2)}")
    step = -(-(high + 1) // MOST)
    raise DataError(f"{got}: {MOST} levels are the most; pass (x // {step}).astype('uint8') for {-(-high // step)}")


def _rounded(array: np.ndarray, levels: int, name: str) -> np.ndarray:
    """Floats in [0, 1], or whole numbers that happen to be floats, as whole levels."""
    if not np.isfinite(array).all():
        raise DataError(f"{name} has {int((~np.isfinite(array)).sum())} pixels that are not finite: fill them first")
    low, high = float(array.min()), float(array.max())
    if low >= 0 and high > 1 and high < levels and bool((array == np.round(array)).all()):
        return array.astype(np.int64)
    if low < 0 or high > 1:
        mend = "pass (x + 1) / 2" if -1 <= low and high <= 1 else "pass (x - x.min()) / (x.max() - x.min())"
        raise DataError(
            f"{name} must hold integer levels 0 to {levels - 1}, or floats in [0, 1] on {levels} levels (got floats "
            f"from {low:.3g} to {high:.3g}): {mend}, and leave normalisation and augmentation out"
        )
    scaled = array.astype(np.float64) * (levels - 1)
    grid = np.round(scaled)
    off = float(np.abs(scaled - grid).max())
    if off > CLOSE:
        warnings.warn(
            f"{name} holds floats between {levels} levels: rounded to the nearest, by at most {off / (levels - 1):.1g}",
            UserWarning,
        )
    return grid.astype(np.int64)
